"""Data sets and the Pax input.

sources         what data sets there are; each gives a `seqio.Task` of encoded
                images, counts its examples and checks its files
image_features  labels, random seeds and mixup, in batches
image_input     the Pax input that joins all of these
named           data sets by the words that DATA_DIR takes
weighted        several data sets as one
fewshot_sets    small data sets for few-shot evaluation
manifest        what `softmoe data` says of files, and how they are read
tfds_files      files of TensorFlow Datasets
shard_names     finds the files of a split
tfrecord_files  counts and checks the records in TFRecord files
tf_errors       what TensorFlow's errors say
idx_files       reads the files in which Fashion-MNIST is published
array_source    a SeqIO source of images in memory
"""

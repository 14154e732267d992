"""Images from encoded bytes to batches, on one SeqIO path.

  sources         what data sets there are; each gives a `seqio.Task` of encoded
                  images, counts its examples and checks its files
  pictures        files that TensorFlow reads otherwise than a viewer, rewritten
  image_ops       decoding and augmentation, one image at a time
  rand_augment    the augmentation RandAugment
  image_features  labels, random seeds and mixup, in batches
  image_input     the Pax input that joins all of these
  named           data sets by the words that DATA_DIR takes
  mixture         several data sets as one
  listing         finds images that `softmoe data` writes, with their labels:
  folders         in a folder for each class
  tables          in CSV and TSV files
  examples        what they give: images by split, classes, notes
  writing         writes them as TFRecords
  manifest        what it says of them, and how they are read
  tfds_files      files of TensorFlow Datasets
  shard_names     finds the files of a split
  tfrecord_files  counts and checks the records in TFRecord files
  tf_errors       what TensorFlow's errors say
  idx_files       reads the files in which Fashion-MNIST is published
  array_source    a SeqIO source of images in memory
  make_embedded   the script that made the embedded data set

Importing this package alone loads no TensorFlow; its modules do.
"""

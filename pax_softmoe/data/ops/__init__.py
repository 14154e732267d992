"""What is done with one image.

image_ops     decoding and augmentation
rand_augment  the augmentation RandAugment
pictures      files that TensorFlow reads otherwise than a viewer, rewritten
"""

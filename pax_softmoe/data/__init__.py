"""Images from encoded bytes to batches, on one SeqIO path.

  sources       what data sets there are; each gives a `seqio.Task` of encoded
                images, counts its examples and checks its files
  image_ops     decoding and augmentation, one image at a time
  image_input   the Pax input that joins the two into batches
  make_embedded the script that made the embedded data set

Importing this package alone loads no TensorFlow; its modules do.
"""

"""Images from encoded bytes to batches.

  ops      on one image at a time
  read     data sets, on one SeqIO path, and the Pax input
  prepare  what `softmoe data` writes

Importing these packages alone loads no TensorFlow; their modules do.
"""

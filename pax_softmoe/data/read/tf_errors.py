"""What TensorFlow's errors say, without its words around it."""

import re

import tensorflow as tf

# TensorFlow fails to raise an error whose message quotes what is no text.
ERRORS = (tf.errors.OpError, UnicodeDecodeError)


def reason(error: Exception) -> str:
  """Returns the first line of one of `ERRORS`, without names of operations."""
  text = (getattr(error, 'message', '') or str(error)).splitlines()[0]
  text = text.partition(' [Op:')[0].rpartition('}} ')[2]
  # Where in a pipeline it happened.
  text = text.rpartition('Iterator::Root')[2].partition(': ')[2] or text
  return text.rstrip('. ')


def damage(error: tf.errors.DataLossError) -> str:
  """Returns what is wrong with a file: 'corrupted record at 1234'."""
  found = re.search(r'\w+ record at \d+', error.message)
  return found.group() if found else reason(error)

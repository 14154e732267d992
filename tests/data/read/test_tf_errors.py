"""Errors of TensorFlow in one line."""

import image_records
from pax_softmoe.data.read import tf_errors
import pytest
import tensorflow as tf


def test_the_reason_is_one_line_without_names_of_operations():
  with pytest.raises(tf_errors.ERRORS) as raised:
    tf.debugging.assert_equal(1, 2, message='one is two')
  text = tf_errors.reason(raised.value)
  assert 'one is two' in text and '\n' not in text


def test_damaged_records_are_told_from_files_that_end_too_soon(tmp_path):
  path = tmp_path / 'x.tfrecord'
  image_records.write_records(path, [image_records.example()] * 2)
  whole = path.read_bytes()
  for data, word in (
      (whole[:-7], 'truncated'),
      (whole[:-20] + b'\xff' + whole[-19:], 'corrupted'),
  ):
    path.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError) as raised:
      list(tf.data.TFRecordDataset(str(path)))
    assert word in tf_errors.damage(raised.value)

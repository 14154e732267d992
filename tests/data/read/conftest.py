"""Files that tests of this folder read."""

import gzip

import image_records
import numpy as np
import pytest


@pytest.fixture(name='idx_folder')
def _idx_folder(tmp_path):
  """A folder like that of Fashion-MNIST, of 3 and 2 images of 2x2 pixels."""
  train = np.arange(12).reshape(3, 2, 2)
  test = 100 + np.arange(8).reshape(2, 2, 2)
  (tmp_path / 'train-images-idx3-ubyte').write_bytes(
      image_records.idx_bytes(train)
  )
  (tmp_path / 'train-labels-idx1-ubyte').write_bytes(
      image_records.idx_bytes([4, 9, 0])
  )
  for name, array in (('images-idx3', test), ('labels-idx1', [7, 7])):
    path = tmp_path / f't10k-{name}-ubyte.gz'
    path.write_bytes(gzip.compress(image_records.idx_bytes(array)))
  return tmp_path

"""Reads the IDX files in which MNIST and its relatives are published.

An IDX file is a magic number, one big-endian uint32 per dimension, and then
the bytes of a uint8 array. `read_images` and `read_labels` raise a one-line
ValueError that names the file, says what is wrong and what to do.
"""

import gzip
import struct
import zlib

from etils import epath
import numpy as np

# Two zero bytes, the type (8 is uint8), and the number of dimensions.
_IMAGES_MAGIC = 0x00000803
_LABELS_MAGIC = 0x00000801


def find(folder: epath.PathLike, name: str) -> epath.Path:
  """Returns the file `name`, or else `name`.gz, in `folder`.

  Raises:
    ValueError: neither is there.
  """
  plain = epath.Path(folder) / name
  for path in (plain, plain.with_name(name + '.gz')):
    if path.exists():
      return path
  raise ValueError(
      f'{plain}: neither this file nor {name}.gz exists; set data_dir to the'
      ' folder that holds the original files'
  )


def read_images(path: epath.PathLike) -> np.ndarray:
  """Returns the [N, h, w] uint8 images in the IDX file `path`.

  Raises:
    ValueError: the file is empty, corrupt, truncated or no IDX file of images.
  """
  return _read(epath.Path(path), _IMAGES_MAGIC, 'images', num_dims=3)


def read_labels(path: epath.PathLike) -> np.ndarray:
  """Returns the [N] uint8 labels in the IDX file `path`.

  Raises:
    ValueError: the file is empty, corrupt, truncated or no IDX file of labels.
  """
  return _read(epath.Path(path), _LABELS_MAGIC, 'labels', num_dims=1)


def _read(
    path: epath.Path, magic: int, content: str, num_dims: int
) -> np.ndarray:
  """Returns the array in `path`, whose first four bytes must be `magic`."""
  data = path.read_bytes()
  if not data:
    raise ValueError(f'{path}: the file is empty; copy it again')
  if path.suffix == '.gz':
    try:
      data = gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
      raise ValueError(
          f'{path}: not a whole gzip file ({error}); copy it again'
      ) from error
  header_size = 4 * (1 + num_dims)
  if len(data) < header_size:
    raise ValueError(
        f'{path}: {len(data)} bytes are too few for the header of an IDX file,'
        f' {header_size} bytes; copy it again'
    )
  found, *shape = struct.unpack(f'>{1 + num_dims}I', data[:header_size])
  if found != magic:
    raise ValueError(
        f'{path}: the magic number is {found:#010x}, IDX {content} start with'
        f' {magic:#010x}; put the original file of {content} here'
    )
  if 0 in shape:
    raise ValueError(
        f'{path}: by its shape {shape} it holds no {content}; copy the original'
        ' file here'
    )
  size = header_size + int(np.prod(shape, dtype=np.int64))
  if len(data) != size:
    raise ValueError(
        f'{path}: {len(data)} bytes, but its header promises {size} for the'
        f' shape {shape}; the file is truncated or corrupt, copy it again'
    )
  return np.frombuffer(data, np.uint8, offset=header_size).reshape(shape)

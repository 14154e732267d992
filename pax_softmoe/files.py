"""Small files that are whole or not there, on disks and in buckets."""

import os

from etils import epath


def is_remote(path: os.PathLike | str) -> bool:
  """Returns whether a path is a URL, as gs://bucket/folder."""
  return '://' in os.fspath(path)


def is_folder(path: os.PathLike | str) -> bool:
  """Returns whether there is such a folder; see `exists`."""
  # Of a bucket that is out of reach, `is_dir` says False and `exists` raises.
  return exists(path) and epath.Path(path).is_dir()


def exists(path: os.PathLike | str) -> bool:
  """Returns whether there is such a file or folder.

  Raises:
    ValueError: that cannot be known, or the scheme of a URL is unknown.
  """
  try:
    return epath.Path(path).exists()
  except KeyError:
    raise ValueError(
        f'{os.fspath(path)}: no such scheme; give a path, or a URL such as'
        ' gs://bucket/folder'
    ) from None
  except Exception as error:
    # TensorFlow has errors of its own for buckets.
    if isinstance(error, OSError) or not is_remote(path):
      raise
    text = ' '.join(str(error).split())
    raise ValueError(
        f'{os.fspath(path)} cannot be reached: {text}; sign in, or give another'
    ) from error


def read(path: epath.Path) -> str | None:
  """Returns the text of a file; None if there is none."""
  try:
    return path.read_text()
  except FileNotFoundError:
    return None


def write_whole(path: epath.Path, text: str) -> None:
  """Writes a file so that others read the old text or the new, no part of it.

  A bucket does so by itself. On a full disk the old text stays.
  """
  if is_remote(path):
    path.write_text(text)
    return
  new = f'{os.fspath(path)}.{os.getpid()}.new'
  try:
    with open(new, 'w') as sink:
      sink.write(text)
    os.replace(new, path)
  except OSError:
    if os.path.exists(new):
      os.unlink(new)
    raise

"""Lists images that lie in a folder for each class.

Every file is an image of a class, named in an error, or counted in a note.
"""

from collections.abc import Iterator
import os
from typing import Any

from etils import epath
from pax_softmoe import files as running_files
from pax_softmoe.data.ops import pictures
from pax_softmoe.data.prepare import examples

# Of operating systems, beside names that begin with a dot.
_SYSTEM = ('thumbs.db', 'desktop.ini', '__macosx')
_SUFFIXES = frozenset(
    '.avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .png .tif .tiff'
    ' .webp'.split()
)


class _Found:
  """What was found on the way through a folder.

  Attributes:
    hidden: names of files and folders that were left out.
    others: names of files outside of classes that are no images.
    loops: names of links to a folder around them.
    beside: names of images that are in no class.
    below: names of images in sub-folders of classes.
    unnamed: names that are not UTF-8.
  """

  def __init__(self, root: epath.Path):
    self._root = root
    self._entries: dict[epath.Path, Any] = {}
    self.hidden: list[str] = []
    self.others: list[str] = []
    self.loops: list[str] = []
    self.beside: list[str] = []
    self.below: list[str] = []
    self.unnamed: list[str] = []

  def name(self, path: epath.Path) -> str:
    return str(path.relative_to(self._root))

  def entries(
      self, folder: epath.Path
  ) -> tuple[list[epath.Path], list[epath.Path]]:
    """Returns the folders and the files in one, sorted, without hidden ones."""
    # What is asked for twice is counted once.
    if folder in self._entries:
      return self._entries[folder]
    try:
      paths = sorted(folder.iterdir())
    except OSError as error:
      raise ValueError(
          f'{folder}: it cannot be read ({error.strerror}); change that, or'
          ' move it elsewhere'
      ) from error
    folders, files = [], []
    for path in paths:
      try:
        path.name.encode()
      except UnicodeEncodeError:
        # In single bytes, as Python takes them from the file system.
        self.unnamed.append(str(os.fsencode(self.name(path)))[1:])
        continue
      if path.name.startswith('.') or path.name.casefold() in _SYSTEM:
        self.hidden.append(self.name(path))
      elif not path.is_dir():
        files.append(path)
      elif self._is_loop(path):
        self.loops.append(self.name(path))
      else:
        folders.append(path)
    self._entries[folder] = folders, files
    return folders, files

  def leave(self, files: list[epath.Path], images: list[str]) -> None:
    """Counts files that are in no class, and adds the images to `images`."""
    for file in files:
      (images if _is_image(file) else self.others).append(self.name(file))

  def files_below(self, folders: list[epath.Path]) -> Iterator[epath.Path]:
    """Yields all files in folders and in theirs."""
    for folder in folders:
      inner, files = self.entries(folder)
      yield from files
      yield from self.files_below(inner)

  def _is_loop(self, folder: epath.Path) -> bool:
    """Returns whether a folder is one that it lies in."""
    real = os.path.realpath(folder)
    around = [p for p in folder.parents if p.is_relative_to(self._root)]
    return real in (os.path.realpath(p) for p in around)

  def check(self) -> None:
    """Raises a ValueError if images would be left out, or cannot be named."""
    if self.unnamed:
      raise ValueError(
          f'{self._root}: {len(self.unnamed)} names are not UTF-8:'
          f' {examples.some(self.unnamed)}; rename them'
      )
    if self.beside:
      raise ValueError(
          f'{self._root}: {len(self.beside)} images lie beside the folders of'
          f' the classes: {examples.some(self.beside)}; move them into one'
      )
    if self.below:
      folder = self.below[0].rpartition('/')[0].rpartition('/')[0]
      raise ValueError(
          f'{self._root}: {len(self.below)} images lie in sub-folders of'
          f' classes: {examples.some(self.below)}; move them into the folder of'
          f' the class, or give {self._root / folder} if that holds the classes'
      )

  def notes(self) -> Iterator[str]:
    """Yields a sentence for each kind of thing that was left out."""
    for names, what in (
        (self.hidden, 'hidden files or files of a system'),
        (self.others, 'files beside the images'),
        (self.loops, 'links to a folder that they lie in'),
    ):
      if names:
        yield f'{len(names)} {what} were left out: {examples.some(names)}'


def _is_image(file: epath.Path) -> bool:
  """Returns whether a file looks like an image."""
  if file.suffix:
    return file.suffix.lower() in _SUFFIXES
  try:
    with file.open('rb') as stream:
      return pictures.is_picture(stream.read(16))
  except OSError:
    return False


def folder(
    path: epath.PathLike, validation_fraction: float
) -> examples.Listing:
  """Lists PATH/CLASS/IMAGE, or PATH/SPLIT/CLASS/IMAGE.

  Args:
    path: if all its sub-folders are called like splits (train, val, validation,
      test, in any case) they are. Names of classes are the same if they differ
      only in how Unicode spells them, or in spaces at the ends.
    validation_fraction: see `examples.split_off`.

  Raises:
    ValueError: there is no such folder, class or image, or an image that is in
      no class.
  """
  path = epath.Path(path)
  if not running_files.is_folder(path):
    raise ValueError(f'{path}: there is no such folder; give one of images')
  found = _Found(path)
  top, files = found.entries(path)
  found.leave(files, found.beside)
  if not top:
    raise ValueError(
        f'{path}: there are no sub-folders; put the images of each class into a'
        ' sub-folder named after it'
    )
  parts = _parts(found, path, top)
  folders = {}
  for _, subs in parts:
    for sub in subs:
      folders.setdefault(examples.same_name(sub.name), set()).add(sub.name)
  if not folders:
    raise ValueError(
        f'{path}: the splits have no sub-folders; put the images of each class'
        ' into a sub-folder of its split'
    )
  classes = sorted(folders)
  splits = {}
  for split, subs in parts:
    members = splits.setdefault(split, [])
    for sub in subs:
      label = (classes.index(examples.same_name(sub.name)),)
      inner, files = found.entries(sub)
      found.leave(list(found.files_below(inner)), found.below)
      for file in files:
        members.append(
            examples.Example(found.name(file), label, file.read_bytes)
        )
  found.check()
  notes = [*found.notes(), *_notes_of_names(folders)]
  examples.hold_out(str(path), splits, validation_fraction)
  return examples.listed(str(path), classes, splits, notes)


def _parts(
    found: _Found, path: epath.Path, top: list[epath.Path]
) -> list[tuple[str, list[epath.Path]]]:
  """Returns the splits, each with the folders of its classes.

  Args:
    found: takes files that are in no class.
    path: the folder of all.
    top: the folders in it.

  Raises:
    ValueError: some of these are splits and others are not.
  """
  named = [f for f in top if examples.split_of(f.name)]
  inside = {f: found.entries(f) for f in named}
  others = [f.name for f in top if f not in named]
  # A class may be called 'train'; it has images, where a split has folders.
  if not others or any(folders for folders, _ in inside.values()):
    if others:
      raise ValueError(
          f'{path}: {examples.some([f.name for f in named])} are splits, and'
          f' {examples.some(others)} beside them are not; move these elsewhere,'
          ' or call them train, validation or test'
      )
    parts = []
    for part, (folders, files) in inside.items():
      found.leave(files, found.beside)
      parts.append((examples.split_of(part.name), folders))
    return parts
  return [('train', top)]


def _notes_of_names(folders: dict[str, set[str]]) -> Iterator[str]:
  """Yields sentences on classes whose names are alike."""
  for name, spelt in sorted(folders.items()):
    if len(spelt) > 1:
      yield f'{len(spelt)} spellings of {name!r} were taken as one class'
  alike = {}
  for name in sorted(folders):
    alike.setdefault(name.casefold(), []).append(name)
  for names in alike.values():
    if len(names) > 1:
      yield f'classes differ only in the case of letters: {", ".join(names)}'

"""What images there are to write, and how a part is held out for validation."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import hashlib
import unicodedata

_SPLITS = {
    'train': 'train',
    'training': 'train',
    'validation': 'validation',
    'val': 'validation',
    'valid': 'validation',
    'test': 'test',
}
# How many of many names a message has.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Example:
  """One image.

  Attributes:
    name: its path, or its place in a data set.
    labels: indices of its classes, at least one.
    load: returns the bytes of the file; raises OSError if there is none.
  """

  name: str
  labels: tuple[int, ...]
  load: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Listing:
  """Images of a data set.

  Attributes:
    classes: names, in the order of the labels.
    splits: examples by split, in the order to write them.
    sizes: numbers of examples by split.
    notes: what was left out or understood in one of several ways, a sentence
      each.
    has_gaps: whether classes may have no images, as numbers that nobody uses.
  """

  classes: Sequence[str]
  splits: dict[str, Iterable[Example]]
  sizes: dict[str, int]
  notes: Sequence[str] = ()
  has_gaps: bool = False


def same_name(name: str) -> str:
  """Returns what all spellings of a name have in common.

  Programs write an é as one character or as two, and leave spaces at the ends.
  """
  return unicodedata.normalize('NFC', name).strip()


def split_of(name: str) -> str | None:
  """Returns the split that a name such as 'Val' means; None if none."""
  return _SPLITS.get(same_name(name).casefold())


def some(names: Sequence[str]) -> str:
  """Returns the first of many names, for a message."""
  return ', '.join(names[:_NAMED]) + (', …' if len(names) > _NAMED else '')


def hold_out(
    where: str, splits: dict[str, list[Example]], fraction: float
) -> None:
  """Moves a part of 'train' to 'validation', see `split_off`.

  Args:
    where: for messages.
    splits: changed in place.
    fraction: 0 for nothing.

  Raises:
    ValueError: there is nothing to take it from, or a validation split already.
  """
  if fraction:
    if 'validation' in splits or 'train' not in splits:
      raise ValueError(
          f'{where} has the splits {", ".join(splits)}; leave out'
          ' --validation_fraction'
      )
    splits['train'], splits['validation'] = split_off(splits['train'], fraction)


def split_off(
    examples: Sequence[Example], fraction: float
) -> tuple[list[Example], list[Example]]:
  """Returns the examples without a part of them, and that part.

  Which they are depends on nothing but their names: of each class (the first of
  several) those that a hash puts first, rounded to whole images. Adding images
  moves few others.

  Args:
    examples: in any order.
    fraction: share of each class, in [0, 1).
  """
  by_class = {}
  for example in sorted(examples, key=_hash):
    by_class.setdefault(example.labels[0], []).append(example)
  kept, part = [], []
  for members in by_class.values():
    count = round(fraction * len(members))
    part += members[:count]
    kept += members[count:]
  return kept, part


def listed(
    where: str,
    classes: Sequence[str],
    splits: dict[str, list[Example]],
    notes: Sequence[str],
    has_gaps: bool = False,
) -> Listing:
  """Returns what was found, in random order.

  Args:
    where: for messages.
    classes: see `Listing`, as are `notes` and `has_gaps`.
    splits: examples in any order.

  Raises:
    ValueError: there is no image, or none of a split or class.
  """
  if not splits:
    raise ValueError(f'{where}: there is no image; list some')
  for split, members in splits.items():
    if not members:
      raise ValueError(
          f'{where}: there is no image in {split}; put some there, or change'
          ' --validation_fraction'
      )
  notes = list(notes)
  counts = {s: count_classes(e.labels for e in m) for s, m in splits.items()}
  without = untrained(classes, counts)
  if without and has_gaps:
    notes.append(
        f'{len(without)} of {len(classes)} classes have no image to train on:'
        f' {some(without)}'
    )
  elif without:
    check_trained(where, without, len(classes))
  # A training job shuffles within a buffer only.
  ordered = {s: sorted(members, key=_hash) for s, members in splits.items()}
  sizes = {s: len(members) for s, members in ordered.items()}
  return Listing(classes, ordered, sizes, notes, has_gaps)


def count_classes(labels: Iterable[Sequence[int]]) -> dict[int, int]:
  """Returns how many images have each label."""
  counts = {}
  for label in _flat(labels):
    counts[label] = counts.get(label, 0) + 1
  return counts


def _flat(labels: Iterable[Sequence[int]]) -> Iterator[int]:
  for of_one in labels:
    yield from of_one


def untrained(
    classes: Sequence[str], counts: dict[str, dict[int, int]]
) -> list[str]:
  """Returns the classes without an image to train on; none without 'train'.

  Args:
    classes: names in the order of the labels.
    counts: of each split, the images of each label.
  """
  if 'train' not in counts:
    return []
  return [c for i, c in enumerate(classes) if not counts['train'].get(i)]


def check_trained(where: str, without: Sequence[str], total: int) -> None:
  """Raises a ValueError if there are classes without training images.

  Args:
    where: for the message.
    without: such classes.
    total: how many classes there are.
  """
  if without:
    raise ValueError(
        f'{where}: {len(without)} of {total} classes have no image to train on:'
        f' {some(without)}; add some, remove the class, or lower'
        ' --validation_fraction'
    )


def _hash(example: Example) -> bytes:
  return hashlib.sha256(example.name.encode()).digest()

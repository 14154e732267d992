"""Lists images that a table names, in a file of values between commas or tabs."""

from collections.abc import Iterator
from collections.abc import Sequence
import csv
import dataclasses
import io
import os
import re
import unicodedata

from etils import epath
from pax_softmoe.data.prepare import examples

SUFFIXES = {'.csv': ',', '.tsv': '\t'}
# Classes that numbers may stand for.
_MOST_CLASSES = 1_000_000
_NAMES = 'put a letter before every number to make it a name, such as c7'
_UNCLOSED = (
    '{path}, line {line}: a value goes over several lines that look like rows;'
    ' close the double quote that begins there'
)
_NUMBER = re.compile(r'[+-]?\d+(\.\d*)?')


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a table.

  Attributes:
    line: of the file where it begins, from 1.
    values: by the names of the columns, without spaces at their ends.
  """

  line: int
  values: dict[str, str]


def read(path: epath.Path, needed: Sequence[str]) -> list[Row]:
  """Returns the rows of a table.

  Args:
    path: a file in UTF-8, a name for each column in its first line. Values may
      be in double quotes, and hold anything then.
    needed: columns that it must have, in small letters.

  Raises:
    ValueError: it is no such table.
  """
  delimiter = SUFFIXES[path.suffix.lower()]
  lines = _lines(path, delimiter)
  _, header = next(lines, (1, []))
  columns = [name.strip().casefold() for name in header]
  for name in needed:
    if name not in columns:
      raise ValueError(
          f'{path}: there is no column {name!r} among {columns}{_hint(header)};'
          ' name the columns path, label and, if wanted, split in the first'
          ' line'
      )
  for i, name in enumerate(columns):
    if not name or name in columns[:i]:
      raise ValueError(
          f'{path}: the name of column {i + 1} is'
          f' {"empty" if not name else f"{name!r} again"}; give each its own'
      )
  rows = []
  for line, values in lines:
    if len(values) != len(columns):
      raise ValueError(
          f'{path}, line {line}: it has {len(values)} values for'
          f' {len(columns)} columns; put values with commas or tabs in double'
          ' quotes'
      )
    found = dict(zip(columns, (value.strip() for value in values)))
    # No path or label has a line break and then a comma, but the rest of one
    # row and the beginning of another have.
    for name in (*needed, 'split'):
      if re.search(rf'[\r\n].*{delimiter}', found.get(name, '')):
        raise ValueError(_UNCLOSED.format(path=path, line=line))
    rows.append(Row(line, found))
  return rows


def _lines(path: epath.Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
  """Yields the values of each row that has any, and where it begins."""
  try:
    text = path.read_bytes().decode('utf-8-sig')
  except OSError as error:
    raise ValueError(
        f'{path}: cannot be read: {error.strerror}; give another file'
    ) from None
  except UnicodeError as error:
    raise ValueError(
        f'{path}: it is no text in UTF-8 ({error}); save it as UTF-8'
    ) from None
  rows = csv.reader(
      io.StringIO(text, newline=''), delimiter=delimiter, strict=True
  )
  while True:
    line = rows.line_num + 1
    try:
      values = next(rows, None)
    except csv.Error as error:
      raise ValueError(
          f'{path}, line {line}: a double quote that begins there is not'
          f' closed, or text follows it ({error}); double the quotes within a'
          ' value'
      ) from None
    if values is None:
      return
    # Two quotes that do not belong together take rows between for a value.
    inner = [
        part for value in values for part in re.split(r'[\r\n]+', value)[1:]
    ]
    if any(part.count(delimiter) == len(values) - 1 for part in inner):
      raise ValueError(_UNCLOSED.format(path=path, line=line))
    if values:
      yield line, values


def _hint(header: Sequence[str]) -> str:
  """Returns what else may separate the columns of a header."""
  for character, name in ((';', 'semicolons'), ('\t', 'tabs'), (',', 'commas')):
    if len(header) == 1 and character in header[0]:
      return (
          f', separated by {name} (use commas in .csv and tabs in .tsv files)'
      )
  return ''


def csv_file(
    path: epath.PathLike, validation_fraction: float
) -> examples.Listing:
  """Lists what a table says.

  Args:
    path: see `read`; with the columns `path`, relative to the file's folder,
      `label`, with ';' between several, and perhaps `split`. Labels that are all
      numbers are indices of classes, others are their names.
    validation_fraction: see `examples.split_off`.

  Raises:
    ValueError: the file is missing, or a column, or what should be in one.
  """
  path = epath.Path(path)
  rows = read(path, ('path', 'label'))
  labels = {}
  for row in rows:
    labels[row.line] = [
        unicodedata.normalize('NFC', label.strip())
        for label in row.values['label'].split(';')
        if label.strip()
    ]
  has_splits = any(row.values.get('split') for row in rows)
  notes, seen, splits = [], {}, {}
  classes, index, is_numbered = _classes(path, labels, notes)
  repeated = []
  for row in rows:
    name = row.values['path']
    if not name or not labels[row.line]:
      raise ValueError(
          f'{path}, line {row.line}: it needs a path and at least one label;'
          ' fill them in'
      )
    word = row.values['split'] if has_splits else 'train'
    split = examples.split_of(word)
    if not split:
      raise ValueError(
          f'{path}, line {row.line}: the split is {word!r}; give one of train,'
          ' validation and test'
      )
    what = split, tuple(sorted({index[label] for label in labels[row.line]}))
    place = examples.same_name(os.path.normpath(str(path.parent / name)))
    line, before = seen.setdefault(place, (row.line, what))
    if line != row.line:
      if before != what:
        raise ValueError(
            f'{path}, line {row.line}: {name} is in line {line} with another'
            ' label or split; put all labels of an image into one row, with'
            ' semicolons between them'
        )
      repeated.append(name)
      continue
    load = (path.parent / name).read_bytes
    splits.setdefault(split, []).append(examples.Example(name, what[1], load))
  if repeated:
    notes.append(
        f'{len(repeated)} rows repeat another and were left out:'
        f' {examples.some(repeated)}'
    )
  examples.hold_out(str(path), splits, validation_fraction)
  return examples.listed(str(path), classes, splits, notes, is_numbered)


def _classes(
    path: epath.Path, labels: dict[int, list[str]], notes: list[str]
) -> tuple[list[str], dict[str, int], bool]:
  """Returns the classes, the index of each label, and whether they are numbers.

  Args:
    path: for messages.
    labels: of each row, by its line.
    notes: takes a sentence if some labels are numbers and some are not.

  Raises:
    ValueError: all labels are numbers, but not all are indices.
  """
  lines = {}
  for line, of_row in labels.items():
    for label in of_row:
      lines.setdefault(label, line)
  numbers = [label for label in lines if _NUMBER.fullmatch(label)]
  if len(numbers) < len(lines) or not lines:
    classes = sorted(lines)
    if numbers:
      name = next(label for label in classes if label not in numbers)
      notes.append(
          f'{len(numbers)} labels are numbers ({examples.some(numbers)}) and'
          f' were taken as names, since others are none ({name})'
      )
    return classes, {name: i for i, name in enumerate(classes)}, False
  for label in numbers:
    where = f'{path}, line {lines[label]}: the label {label}'
    if label.startswith('-'):
      raise ValueError(
          f'{where} is negative; count classes from 0, or {_NAMES}'
      )
    if not label.isdecimal():
      raise ValueError(f'{where} is no whole number; count from 0, or {_NAMES}')
    if int(label) >= _MOST_CLASSES:
      raise ValueError(
          f'{where} would be one of more than {_MOST_CLASSES:,} classes; count'
          f' them from 0, or {_NAMES}'
      )
  index = {label: int(label) for label in numbers}
  return [str(i) for i in range(max(index.values()) + 1)], index, True

"""Whether the checkpoints of a job are whole, without PaxML and the model."""

import dataclasses
import os
import re

from etils import epath
from pax_softmoe import files as running_files
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import structure

DamageError = checksums.DamageError

_STEP = re.compile(r'checkpoint_(\d+)')


@dataclasses.dataclass(frozen=True)
class Findings:
  """What was found in the folder of a checkpoint.

  Attributes:
    problems: what is wrong, each beginning with a file's name.
    has_checksums: whether contents were compared with checksums.
    extra: names of files that are none of the checkpoint's.
    files: how many it has.
    bytes: of them together; 0 if there are no checksums.
  """

  problems: list[str]
  has_checksums: bool = False
  extra: list[str] = dataclasses.field(default_factory=list)
  files: int = 0
  bytes: int = 0


def steps(job_dir: os.PathLike) -> list[int]:
  """Returns the steps of all finished checkpoints of a job, ascending."""
  folder = epath.Path(job_dir) / 'checkpoints'
  names = [p.name for p in folder.iterdir()] if folder.exists() else []
  matches = (_STEP.fullmatch(name) for name in names)
  return sorted(int(match[1]) for match in matches if match)


def is_unfinished(name: str) -> bool:
  """Returns whether that is the folder of a save that did not end."""
  return re.match(r'checkpoint_\d+\.orbax-checkpoint-tmp-', name) is not None


def folder_of(job_dir: os.PathLike, step: int) -> epath.Path:
  """Returns the folder of the checkpoint of a step."""
  return epath.Path(job_dir) / 'checkpoints' / f'checkpoint_{step:08d}'


def find(job_dir: os.PathLike, step: int | None) -> int:
  """Returns the step of a checkpoint that a job has.

  Args:
    job_dir: the job_log_dir of the job.
    step: which; None for the last.

  Raises:
    ValueError: there is none.
  """
  found = steps(job_dir)
  if not found:
    raise ValueError(f'{job_dir} holds no finished checkpoint; train first')
  if step is None:
    return found[-1]
  if step not in found:
    raise ValueError(
        f'{job_dir} holds no checkpoint of step {step}; it has'
        f' {", ".join(map(str, found))}'
    )
  return step


def inspect(folder: os.PathLike) -> Findings:
  """Looks at all of a checkpoint.

  With checksums every file is compared with its own. Without, what holds
  together the arrays must be there, and every part of them must be readable;
  whether the numbers are those that were written cannot be told.

  Args:
    folder: of the checkpoint.
  """
  folder = epath.Path(folder)
  if problem := folder_problem(folder):
    return Findings([problem])
  names = checksums.files(folder)
  try:
    entries = checksums.read(folder)
  except DamageError as error:
    return Findings([str(error)], True, files=len(names))
  if entries is None:
    problems = structure.problems(folder) or structure.undecodable(folder)
    return Findings(problems, files=len(names))
  return Findings(
      checksums.problems(folder, list(entries), entries),
      True,
      sorted(set(names) - set(entries)),
      len(entries),
      sum(size for size, _ in entries.values()),
  )


def problems(
    folder: os.PathLike, index: int = 0, count: int = 1, contents: bool = True
) -> list[str]:
  """Returns what is wrong with a share of a checkpoint, as in `Findings`.

  Args:
    folder: of the checkpoint.
    index: which of equal shares to look at.
    count: of shares.
    contents: whether to compare files with their checksums, if it has some.
  """
  folder = epath.Path(folder)
  if problem := folder_problem(folder):
    return [problem]
  if contents:
    try:
      entries = checksums.read(folder)
    except DamageError as error:
      return [str(error)]
    if entries is not None:
      return checksums.problems(folder, list(entries)[index::count], entries)
  return structure.problems(folder, index, count)


def folder_problem(folder: epath.Path) -> str | None:
  """Returns what is wrong with a folder before any file is looked at."""
  if not running_files.is_folder(folder):
    return 'it is a file and no folder' if folder.exists() else 'it is missing'
  if not any(folder.iterdir()):
    return 'it is empty'
  return None


def metadata_problem(folder: epath.Path) -> str | None:
  """Returns what is wrong with a checkpoint's folder and metadata."""
  if problem := folder_problem(folder):
    return problem
  try:
    structure.weights_of_metadata(folder)
  except DamageError as error:
    return str(error)
  return None


def damage(folder: os.PathLike, found: list[str]) -> DamageError:
  """Returns the error to raise for a damaged checkpoint.

  Its one line says what is wrong with which file, and from which step the job
  can go on. To find that, other checkpoints are read.

  Args:
    folder: of the checkpoint.
    found: what is wrong with it, as in `Findings`.
  """
  damaged = epath.Path(folder)
  what = f'{folder}{": " if found[0].startswith("it ") else "/"}{found[0]}'
  more = len(found) - 1
  job_dir = damaged.parent.parent
  if more:
    what += (
        f' (and {more} more file{"s" * (more > 1)}: see'
        f' `softmoe verify {job_dir}`)'
    )
  removed = [damaged]
  for step in reversed(steps(job_dir)):
    other = folder_of(job_dir, step)
    if other == damaged:
      continue
    if not inspect(other).problems:
      names = ' and '.join(map(str, sorted(removed)))
      word = 'folder' if len(removed) == 1 else 'folders'
      return DamageError(
          f'{what}; remove the {word} {names} to go on from step {step}'
      )
    removed.append(other)
  return DamageError(
      f'{what}; no other checkpoint is whole: start afresh in another folder'
  )

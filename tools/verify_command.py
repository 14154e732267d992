"""Tells whether the checkpoints of a job are as they were written.

softmoe verify /tmp/demo
softmoe verify gs://bucket/job --step=1000 --json

Compares every file with its checksum. Of checkpoints without checksums, as
older versions wrote them, and VERIFY_CHECKPOINTS=False, the metadata, every
array, and the place in the data must be there and be readable. Changes nothing.
"""

import argparse
from typing import Any

from etils import epath
from pax_softmoe import files
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main

# Of what is wrong with one checkpoint, as many are printed.
_MOST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('job_dir', type=arguments_of.path, help='folder of a job')
  parser.add_argument(
      '--step',
      type=arguments_of.natural,
      help='which checkpoint (default: all)',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  job_dir = arguments.job_dir
  folder = job_dir / 'checkpoints'
  if not files.is_folder(folder) and not (job_dir / jobs.RECORD_NAME).exists():
    raise main.UsageError(f'{job_dir} holds no job; give the folder of one')
  names = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
  unfinished = list(filter(inspecting.is_unfinished, names))
  steps = inspecting.steps(job_dir)
  if arguments.step is not None or not steps:
    steps = [inspecting.find(job_dir, arguments.step)]
  rows = [_inspect(job_dir, step) for step in steps]
  problem = _record_problem(job_dir)
  whole = all(row['whole'] for row in rows) and not problem
  if arguments.json:
    json_output.show({
        'job_dir': str(job_dir),
        'whole': whole,
        'record': problem,
        'checkpoints': rows,
        'unfinished': unfinished,
    })
    return 0 if whole else 1
  if problem:
    print(problem)
  for row in rows:
    print(f'step {row["step"]}: {_text(row)}')
  for name in unfinished:
    print(f'{name}: left by a save that did not end; no part of the job')
  return 0 if whole else 1


def _record_problem(job_dir: epath.Path) -> str | None:
  """Returns what is wrong with the record of a job's settings, if it has one."""
  if (job_dir / jobs.RECORD_NAME).exists():
    try:
      jobs.recorded(job_dir)
    except main.UsageError as error:
      return str(error)
  return None


def _inspect(job_dir: epath.Path, step: int) -> dict[str, Any]:
  folder = inspecting.folder_of(job_dir, step)
  found = inspecting.inspect(folder)
  return {
      'step': step,
      'folder': str(folder),
      'whole': not found.problems,
      'checksums': found.has_checksums,
      'files': found.files,
      'bytes': found.bytes,
      'problems': found.problems,
      'extra': found.extra,
  }


def _text(row: dict[str, Any]) -> str:
  """Returns what to print of a checkpoint."""
  if row['problems']:
    text = _listed(row['problems'])
  elif row['checksums']:
    text = f'whole ({row["files"]} files, {row["bytes"] / 1e6:,.1f} MB)'
  else:
    text = (
        f'no checksums; its {row["files"]} files are there and can be read,'
        ' whether their contents are as written cannot be told'
    )
  if row['extra']:
    text += f'; not written with it: {_listed(row["extra"])}'
  return text


def _listed(words: list[str]) -> str:
  text = ', '.join(words[:_MOST])
  return text + f' and {len(words) - _MOST} more' * (len(words) > _MOST)

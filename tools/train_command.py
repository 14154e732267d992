"""Trains an experiment through paxml.main, with a progress bar.

  softmoe train SoftMoEFashionMnist --job_dir=/tmp/demo
  softmoe train SoftMoEFashionMnist --set NUM_EXPERTS=4 --set NUM_TRAIN_STEPS=2000
  softmoe train SoftMoEFashionMnistFinetune --init_from=/tmp/demo

Pax' own log goes to JOB_DIR/pax.log. The same command again goes on from the
last checkpoint in JOB_DIR; SIGTERM ends a job with one. Flags after `--` are
given to paxml.main.
"""

import argparse
from collections.abc import Sequence
import pathlib
import socket
import subprocess
import sys
import time
from typing import Any

from pax_softmoe.analysis import pax_log
from pax_softmoe.tools import child
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from rich import console as rich_console
from rich import progress as rich_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', help='name, see `softmoe list`')
  parser.add_argument(
      '--job_dir',
      type=pathlib.Path,
      help='where all results go (default: runs/EXPERIMENT)',
  )
  parser.add_argument(
      '--init_from',
      metavar='DIR',
      help=(
          'job to take the weights from, result of `softmoe import`, or .npz'
          ' file; positions are interpolated to other image sizes'
      ),
  )
  jobs.add_setting_argument(parser)
  parser.add_argument(
      '--json', action='store_true', help='print the result as JSON'
  )
  parser.add_argument(
      'pax_flags', nargs='*', help='flags of paxml.main, after --'
  )


def run(arguments: argparse.Namespace) -> int:
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  settings = jobs.parse_settings(arguments.set)
  if arguments.init_from:
    settings['INIT_FROM'] = arguments.init_from
  job_dir = arguments.job_dir or pathlib.Path('runs') / name
  job_dir = job_dir.absolute()
  jobs.make_folder(job_dir)
  jobs.record(job_dir, name, settings)
  out = rich_console.Console(stderr=True)
  flags = [
      jobs.experiment_flag(name, settings),
      f'--job_log_dir={job_dir}',
      '--eval_on_test',
      *_asynchronous(arguments.pax_flags),
      *arguments.pax_flags,
  ]
  log = job_dir / jobs.LOG_NAME
  started = time.time()
  reason = None
  try:
    with _bar(out) as bar:
      task = bar.add_task('starting Pax', total=None, loss='', rate='')
      show = lambda progress: _show(bar, task, progress)
      progress, code = child.run_pax(flags, log, show)
    if code:
      reason = progress.error or f'paxml.main ended with code {code}'
      if 'PaxMetadata is not compatible' in reason:
        reason = _why_checkpoint_does_not_fit(job_dir, name, settings)
  except KeyboardInterrupt:
    reason = 'stopped; the same command goes on from the last checkpoint'
  if reason:
    out.print(f'softmoe train: {reason}', markup=False, soft_wrap=True)
    out.print(f'The whole log is in {log}', soft_wrap=True)
    return 1
  result = {
      'experiment': name,
      'step': progress.eval_step,
      'examples': progress.eval_examples,
      'accuracy': progress.evaluation.get('accuracy'),
      'loss': progress.evaluation.get('loss'),
      'seconds': round(time.time() - started, 1),
      'checkpoints': str(job_dir / 'checkpoints'),
      'summaries': str(job_dir / 'summaries'),
      'log': str(log),
  }
  if picture := _draw_routing(job_dir, out):
    result['routing'] = str(picture)
  if arguments.json:
    json_output.show(result)
  else:
    _print(result)
  return 0


def _asynchronous(pax_flags: Sequence[str]) -> list[str]:
  """Returns flags by which steps go on while a checkpoint is written.

  Pax does so with jax.distributed only, which a single process has to have all
  to itself. A user who runs several has flags of their own.

  Args:
    pax_flags: of the user.
  """
  own = ('multiprocess_gpu', 'jax_fully_async_checkpoint', 'server_addr')
  if any(
      flag.lstrip('-').removeprefix('no').startswith(own) for flag in pax_flags
  ):
    return []
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  return [
      '--jax_fully_async_checkpoint',
      f'--server_addr=127.0.0.1:{port}',
      '--num_hosts=1',
      '--host_idx=0',
  ]


def _why_checkpoint_does_not_fit(
    job_dir: pathlib.Path, name: str, settings: dict[str, Any]
) -> str:
  """Returns in one line what Pax says with both train states in full."""
  # Takes seconds: it loads PaxML.
  from pax_softmoe.checkpoints import reading

  experiment = jobs.find_experiment(name).with_settings(**settings)()
  try:
    reading.check_fits(job_dir, experiment)
  except ValueError as error:
    return f'the checkpoint in {job_dir} does not fit: {error}'
  return f'the optimizer of the checkpoint in {job_dir} is another'


def _bar(out: rich_console.Console) -> rich_progress.Progress:
  return rich_progress.Progress(
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(bar_width=24),
      rich_progress.TextColumn('{task.fields[loss]}'),
      rich_progress.TextColumn('{task.fields[rate]}'),
      console=out,
  )


def _show(
    bar: rich_progress.Progress, task: int, progress: pax_log.Progress
) -> None:
  if not progress.step:
    return
  total = progress.total_steps
  fields = {'loss': f'loss {progress.loss:.3f}', 'rate': ''}
  if progress.accuracy is not None:
    fields['loss'] += f'  accuracy {progress.accuracy:.1%}'
  rate = progress.steps_per_second
  if rate and progress.batch_size and total:
    left = int((total - progress.step) / rate)
    fields['rate'] = (
        f'{rate * progress.batch_size:.0f} images/s '
        f' {left // 60}:{left % 60:02d} left'
    )
  description = f'step {progress.step}/{total}'
  if 'accuracy' in progress.evaluation:
    description += f'  test {progress.evaluation["accuracy"]:.1%}'
  bar.update(
      task,
      description=description,
      completed=progress.step,
      total=total,
      **fields,
  )


def _draw_routing(
    job_dir: pathlib.Path, out: rich_console.Console
) -> pathlib.Path | None:
  """Draws the routing of a finished job; says why if it cannot."""
  picture = job_dir / 'routing.png'
  command = [
      sys.executable,
      '-m',
      'pax_softmoe.tools',
      'routing',
      str(job_dir),
      f'--output={picture}',
  ]
  done = subprocess.run(
      command, env=jobs.child_environment(), capture_output=True, text=True
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ['no reason given']
    out.print(f'No routing picture: {lines[-1]}', markup=False, soft_wrap=True)
    return None
  return picture


def _print(result: dict[str, object]) -> None:
  if result['accuracy'] is not None:
    print(
        f'Accuracy {result["accuracy"]:.2%} on {result["examples"]} held-out'
        f' images after {result["step"]} steps ({result["seconds"]:.0f} s)'
    )
  else:
    print('Nothing was left to train; `softmoe evaluate` tells the accuracy')
  for what in ('checkpoints', 'summaries', 'routing', 'log'):
    if what in result:
      print(f'{what:12} {result[what]}')

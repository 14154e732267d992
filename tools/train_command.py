"""Trains an experiment through paxml.main, with a progress bar.

  softmoe train SoftMoEFashionMnist --job_dir=/tmp/demo
  softmoe train SoftMoEFashionMnist --set NUM_EXPERTS=4 --set NUM_TRAIN_STEPS=2000
  softmoe train SoftMoEFashionMnistFinetune --init_from=/tmp/demo

Pax' own log goes to JOB_DIR/pax.log. The same command again goes on from the
last checkpoint in JOB_DIR; Ctrl-C, SIGTERM and SIGHUP end a job with one, and
the second of them at once. Flags after `--` are given to paxml.main.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math
import socket
import subprocess
import sys
import time

from etils import epath
from pax_softmoe import files
from pax_softmoe.running import parent
from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import child
from pax_softmoe.tools import job_log
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import progress
from pax_softmoe.training import pax_log
from rich import console as rich_console

# What follows `--` is given as `pax_flags`.
TAKES_PAX_FLAGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', help='name, see `softmoe list`')
  parser.add_argument(
      '--job_dir',
      type=arguments_of.path,
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


def run(arguments: argparse.Namespace) -> int:
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  settings = jobs.parse_settings(arguments.set)
  if arguments.init_from:
    settings['INIT_FROM'] = arguments.init_from
  jobs.check_name(name)
  job_dir = arguments.job_dir or epath.Path('runs') / name
  job_dir = arguments_of.absolute(job_dir)
  out = rich_console.Console(stderr=True)
  started = time.time()
  with progress.shown(out) as show:
    reached = pax_log.Progress()
    show(reached)

    def say(phase):
      show(dataclasses.replace(reached, phase=phase))

    # What is in a bucket, the job itself checks: here it would take seconds.
    if not files.is_remote(job_dir):
      jobs.check_free(job_dir, name, say)
      jobs.make_folder(job_dir)
    flags = [
        jobs.experiment_flag(name, settings),
        f'--job_log_dir={job_dir}',
        '--eval_on_test',
        *_asynchronous(arguments.pax_flags),
        *arguments.pax_flags,
    ]
    log = job_log.JobLog(job_dir / jobs.LOG_NAME)
    reached, code = child.run_pax(flags, log, show)
    if not code:
      seconds = round(time.time() - started, 1)
      picture, problem = _draw_routing(job_dir, say)
  if code:
    reason = reached.error or f'paxml.main ended with code {code}'
    out.print(f'softmoe train: {reason}', markup=False, soft_wrap=True)
    where = f'The whole log is in {log.path}'
    if log.problem:
      where = f'{log.path} is not the whole log: {log.problem}'
    out.print(where, markup=False, soft_wrap=True)
    return code if code > 128 else 1
  unknown = [k for k, v in reached.evaluation.items() if not math.isfinite(v)]
  if unknown:
    out.print(
        f'softmoe train: in the last evaluation, {" and ".join(unknown)} are'
        ' not finite (NaN or infinity); lower LEARNING_RATE',
        markup=False,
        soft_wrap=True,
    )
    return 1
  if problem:
    out.print(f'No routing picture: {problem}', markup=False, soft_wrap=True)
  result = {
      'experiment': name,
      'step': reached.eval_step,
      'examples': reached.eval_examples,
      'accuracy': reached.evaluation.get('accuracy'),
      'loss': reached.evaluation.get('loss'),
      'seconds': seconds,
      'checkpoints': str(job_dir / 'checkpoints'),
      'summaries': str(job_dir / 'summaries'),
      'log': str(log.path),
      **({} if problem else {'routing': str(picture)}),
  }
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


def _draw_routing(
    job_dir: epath.Path, say: Callable[[str], None]
) -> tuple[epath.Path, str | None]:
  """Draws the routing of a finished job.

  Args:
    job_dir: its folder.
    say: called again and again with what is done.

  Returns:
    The picture, and why it could not be drawn, if so.
  """
  picture = job_dir / 'routing.png'
  drawing = subprocess.Popen(
      [
          sys.executable,
          '-m',
          'pax_softmoe.tools',
          'routing',
          str(job_dir),
          f'--output={picture}',
      ],
      env={**jobs.child_environment(), **parent.variables()},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
  )
  with drawing:
    try:
      while True:
        try:
          _, errors = drawing.communicate(timeout=1)
          break
        except subprocess.TimeoutExpired:
          say('drawing the routing')
    except BaseException:
      drawing.kill()
      raise
  if not drawing.returncode:
    return picture, None
  return picture, (errors.strip().splitlines() or ['no reason given'])[-1]


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

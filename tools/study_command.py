"""Trains every router on the same images for equal steps, and compares them.

  softmoe study --output=runs/study
  softmoe study --seeds 0 1 --steps=500 --set NUM_EXPERTS=8
  softmoe study --experiments SoftMoEFashionMnist ViTFashionMnist

Each run is a job of paxml.main in OUTPUT/jobs. The same command again repeats
nothing that is finished, and goes on from the last checkpoint of a run that is
not. In the end OUTPUT has results.json, table.md and plot.png. Times per image
are of the forward pass of an evaluation batch, all experiments taking turns in
one process.
"""

import argparse
import json
import time
from typing import Any

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import child
from pax_softmoe.tools import job_log
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main
from pax_softmoe.training import pax_log
from rich import console as rich_console
from rich import progress as rich_progress

_ROUNDS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
      '--experiments',
      nargs='+',
      metavar='EXP',
      help='what to compare (default: all routers on Fashion-MNIST)',
  )
  parser.add_argument(
      '--seeds',
      nargs='+',
      type=int,
      default=[0, 1, 2],
      metavar='SEED',
      help='runs of each experiment (default: 0 1 2)',
  )
  parser.add_argument(
      '--steps',
      type=arguments_of.positive_int,
      help=(
          "training steps of each run (default: the experiments' own); warm-up,"
          ' decay and cool-down of the learning rate are stretched in'
          ' proportion'
      ),
  )
  parser.add_argument(
      '--output',
      type=arguments_of.path,
      default='runs/study',
      metavar='DIR',
      help='where all results go (default: runs/study)',
  )
  parser.add_argument(
      '--set',
      action='append',
      default=[],
      metavar='NAME=VALUE',
      help='change a setting of all experiments that have it; may be repeated',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  output = arguments_of.absolute(arguments.output)
  jobs.make_folder(output)
  # Imported after the arguments are known to be good; they take seconds.
  jobs.load_experiments()
  from pax_softmoe.bench import study

  names = arguments.experiments or study.EXPERIMENTS
  runs = study.plan(
      [jobs.find_experiment(name) for name in dict.fromkeys(names)],
      list(dict.fromkeys(arguments.seeds)),
      jobs.parse_settings(arguments.set),
      arguments.steps,
      output / 'jobs',
  )
  for one in runs:
    _check(one)
  out = rich_console.Console(stderr=True)
  if problem := _train(runs, out):
    out.print(f'softmoe study: {problem}', markup=False, soft_wrap=True)
    return 1
  out.print('evaluating, and measuring times')
  measured = child.call(
      'pax_softmoe.bench.study:measure',
      jobs=[(one.experiment, str(one.job_dir), one.settings) for one in runs],
      rounds=_ROUNDS,
  )
  rows = study.results(runs, measured)
  result = {'steps': runs[0].steps, 'settings': arguments.set, 'results': rows}
  (output / 'results.json').write_text(json.dumps(result, indent=2) + '\n')
  (output / 'table.md').write_text(study.table(rows))
  study.draw(rows, output / 'plot.png')
  if arguments.json:
    json_output.show(result)
  else:
    print(study.table(rows))
    for name in ('results.json', 'table.md', 'plot.png'):
      print(output / name)
  return 0


def _check(one: Any) -> None:
  """Raises UsageError if the folder of a run holds another one."""
  if not (one.job_dir / jobs.RECORD_NAME).exists():
    return
  name, settings = jobs.recorded(one.job_dir)
  if (name, settings) != (one.experiment, json.loads(json.dumps(one.settings))):
    raise main.UsageError(
        f'{one.job_dir} holds {name} with other settings, {settings}; choose'
        ' another folder with --output'
    )


def _train(runs: list[Any], out: rich_console.Console) -> str | None:
  """Trains what is not trained yet; returns why it stopped early, or None."""
  at_start = sum(one.steps_saved() for one in runs)
  columns = (
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(bar_width=24),
      rich_progress.TextColumn('{task.fields[left]}'),
  )
  with rich_progress.Progress(*columns, console=out) as bar:
    task = bar.add_task(
        'starting', total=sum(one.steps for one in runs), left=''
    )
    started = time.time()
    before = 0
    for i, one in enumerate(runs):
      title = f'run {i + 1}/{len(runs)} {one.experiment} seed {one.seed}'

      def show(progress: pax_log.Progress, before=before, title=title):
        step = progress.step
        loss = f', loss {progress.loss:.3f}' if step else ''
        done = before + step
        left = ''
        if done > at_start:
          rate = (time.time() - started) / (done - at_start)
          minutes = rate * (bar.tasks[0].total - done) / 60
          left = f'{minutes:.0f} min left'
        bar.update(
            task,
            description=f'{title}, step {step}/{one.steps}{loss}',
            completed=done,
            left=left,
        )

      try:
        problem = None if one.is_trained() else _train_one(one, show)
      except KeyboardInterrupt:
        text = 'stopped; the same command goes on where it was'
        raise KeyboardInterrupt(text) from None
      if problem:
        return problem
      before += one.steps
      bar.update(task, completed=before)
  return None


def _train_one(one: Any, show: Any) -> str | None:
  """Trains one run; returns what went wrong, or None."""
  jobs.make_folder(one.job_dir)
  jobs.check_free(one.job_dir, one.experiment)
  log = job_log.JobLog(one.job_dir / jobs.LOG_NAME)
  flags = [
      jobs.experiment_flag(one.experiment, one.settings),
      f'--job_log_dir={one.job_dir}',
  ]
  progress, code = child.run_pax(flags, log, show)
  if code or not one.is_trained():
    reason = progress.error or f'paxml.main ended with code {code}'
    return f'{one.experiment}: {reason}; the whole log is in {log.path}'
  return None

"""Writes what it takes to train an experiment on TPU slices of Google Cloud.

  softmoe launch SoftMoEH14 --slice=v4-512 --zone=us-central2-b \
      --data=gs://bucket/images --spot

The folder has a script for your own machine (create.sh, or xpk.sh for a GKE
cluster), one for every host, and the source. Nothing is started here. The slice
must have been tuned: `softmoe tune EXPERIMENT --slice=… --write`.
"""

import argparse
import pathlib
import re
from typing import Any

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main

# Steps go on while a checkpoint is written, and all hosts save one more when one
# of them is told to end.
_LONG_JOB = ('--jax_fully_async_checkpoint', '--exit_after_ondemand_checkpoint')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('experiment', help='name, see `softmoe list`')
  parser.add_argument(
      '--slice', required=True, help='v4-512, or 2xv4-512 for two of them'
  )
  parser.add_argument('--zone', required=True, help='such as us-central2-b')
  parser.add_argument(
      '--data', required=True, metavar='gs://…', help='folder of the images'
  )
  parser.add_argument(
      '--job_dir',
      metavar='gs://…',
      help='where all results go (default: jobs/NAME in the bucket of --data)',
  )
  parser.add_argument('--project', default='', help="(default: gcloud's own)")
  parser.add_argument('--name', help='(default: experiment and slice)')
  parser.add_argument(
      '--spot',
      action='store_true',
      help='slices that may be taken away, for less money',
  )
  parser.add_argument(
      '--output',
      type=arguments_of.local_path,
      help='folder to write (default: launch/NAME)',
  )
  jobs.add_setting_argument(parser)
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  jobs.check_name(name)
  job_name = arguments.name or _job_name(name, arguments.slice)
  if not re.fullmatch('[a-z]([a-z0-9-]{0,37}[a-z0-9])?', job_name):
    raise main.UsageError(
        f'--name {job_name}: use at most 39 small letters, digits and dashes,'
        ' a letter first'
    )
  bucket = re.match('gs://[^/]+', arguments.data)
  job_dir = arguments.job_dir or (
      bucket and f'{bucket.group()}/jobs/{job_name}'
  )
  if not bucket or not job_dir.startswith('gs://'):
    raise main.UsageError(
        'hosts can read and write only folders of Google Cloud Storage: give'
        ' --data and --job_dir as gs://BUCKET/FOLDER'
    )
  output = arguments.output or pathlib.Path('launch') / job_name
  jobs.make_folder(output)
  written = _write(arguments, name, job_name, job_dir, output)
  if arguments.json:
    json_output.show(written)
    return 0
  print(f'Wrote {output}. To run it, from this machine:')
  print(f'  bash {output}/create.sh          # queued resources')
  print(f'  bash {output}/xpk.sh CLUSTER     # or a GKE cluster')
  print(f'Results will be in {job_dir}; each host runs')
  print(f'  python -m paxml.main {" ".join(map(repr, written["flags"]))}')
  return 0


def _write(
    arguments: argparse.Namespace,
    name: str,
    job_name: str,
    job_dir: str,
    output: pathlib.Path,
) -> dict[str, Any]:
  """Writes the folder; returns what is in it."""
  settings = {'SLICE': arguments.slice, 'DATA_DIR': arguments.data}
  settings.update(jobs.parse_settings(arguments.set))
  # Here a slice without stored settings is found out.
  experiment = jobs.find_experiment(name).with_settings(**settings)
  from pax_softmoe.experiments import stored
  from pax_softmoe.launch import scripts
  from pax_softmoe.tpu import hardware

  slices, tpu_slice = hardware.parse_slices(arguments.slice)
  job = scripts.Job(
      name=job_name,
      flags=[jobs.experiment_flag(name, settings), *_LONG_JOB],
      job_dir=job_dir,
      tpu_slice=tpu_slice,
      slices=slices,
      zone=arguments.zone,
      project=arguments.project,
      spot=arguments.spot,
      environment=stored.find(experiment, arguments.slice)['environment'],
  )
  scripts.write(job, output, jobs.checkout())
  return {
      'folder': str(output),
      'job_dir': job_dir,
      'flags': job.flags,
      'environment': job.environment,
  }


def _job_name(experiment: str, slices: str) -> str:
  return f'{experiment}-{slices}'.lower()

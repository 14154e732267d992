"""Writes a trained model for programs that know nothing of this package.

  softmoe export runs/SoftMoEFashionMnist --output=/tmp/exported

The folder is a TensorFlow SavedModel. Its signature `serving_default` takes
`images`, [batch, size, size, channels] float32 with pixels from 0 to 255 in the
size of training, and returns `logits` and `probabilities`; class names are in
assets/class_names.json. Beside it, weights.safetensors holds all weights.
"""

import argparse

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
  jobs.add_job_arguments(parser)
  parser.add_argument(
      '--output',
      required=True,
      type=arguments_of.path,
      help='folder to write',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  experiment = jobs.experiment_of(arguments)
  output = arguments.output
  if output.exists() and not output.is_dir():
    raise main.UsageError(f'{output} is a file; choose another --output')
  if output.exists() and any(output.iterdir()):
    raise main.UsageError(f'{output} is not empty; choose another --output')
  # Imported after the arguments are known to be good; they take seconds.
  from pax_softmoe.checkpoints import reading
  from pax_softmoe.evaluation import export

  job_dir = arguments.job_dir
  reading.check_fits(job_dir, experiment, arguments.step)
  is_new = not output.exists()
  jobs.make_folder(output)
  weights = output / 'weights.safetensors'
  try:
    export.write_saved_model(experiment, job_dir, output, arguments.step)
    export.write_safetensors(experiment, job_dir, weights, arguments.step)
  except BaseException:
    if is_new:
      output.rmtree()
    raise
  result = {
      'moving_average': reading.is_average(job_dir, arguments.step),
      'saved_model': str(output),
      'weights': str(weights),
      'class_names': str(output / 'assets' / 'class_names.json'),
  }
  if arguments.json:
    json_output.show(result)
  else:
    for what, value in result.items():
      print(f'{what:14} {value}')
  return 0

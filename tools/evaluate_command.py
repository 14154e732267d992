"""Evaluates a checkpoint of a job on held-out images.

softmoe evaluate /tmp/demo
softmoe evaluate /tmp/demo --step=1000 --json
"""

import argparse

from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
  jobs.add_job_arguments(parser)
  parser.add_argument('--split', help='which images (default: as in training)')
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  experiment = jobs.experiment_of(arguments)
  # Imported after the arguments are known to be good; they take seconds.
  from pax_softmoe.evaluation import inference

  classifier = inference.TrainedClassifier(
      experiment, arguments.job_dir, arguments.step
  )
  result = classifier.evaluate(
      classifier.experiment.eval_input(arguments.split)
  )
  result = {
      'step': classifier.step,
      'moving_average': classifier.is_average,
      'examples': result['examples'],
      'accuracy': result['accuracy'],
      'loss': result['loss'],
  }
  if arguments.json:
    json_output.show(result)
  else:
    print(
        f'{classifier.which}: accuracy {result["accuracy"]:.2%}, loss'
        f' {result["loss"]:.4f} on {result["examples"]} images'
    )
  return 0

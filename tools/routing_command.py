"""Draws which patches of test images each slot of each MoE layer reads.

softmoe routing /tmp/demo
softmoe routing /tmp/demo --images=6 --output=/tmp/routing.png
"""

import argparse

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
  jobs.add_job_arguments(parser)
  parser.add_argument(
      '--images',
      type=arguments_of.positive_int,
      default=3,
      help='how many images (default: 3)',
  )
  parser.add_argument(
      '--output',
      type=arguments_of.path,
      help='PNG to write (default: JOB_DIR/routing.png)',
  )
  parser.add_argument(
      '--json', action='store_true', help='print statistics as JSON'
  )


def run(arguments: argparse.Namespace) -> int:
  experiment = jobs.experiment_of(arguments)
  if not experiment.num_moe_layers():
    raise main.UsageError(
        f'{type(experiment).__name__} is dense and routes nothing'
    )
  # Imported after the arguments are known to be good; they take seconds.
  import numpy as np
  from pax_softmoe.evaluation import inference
  from pax_softmoe.evaluation import routing_weights

  classifier = inference.TrainedClassifier(
      experiment, arguments.job_dir, arguments.step
  )
  batch = experiment.eval_input().get_next()
  labels = batch.labels.argmax(-1)
  # Images of different classes show more than the first ones of the split.
  _, chosen = np.unique(labels, return_index=True)
  chosen = np.sort(chosen)[: arguments.images]
  images = batch.image[chosen]
  found = routing_weights.dispatch_weights(classifier.intermediates(images))
  dispatch = {layer: w[: len(images)] for layer, w in found.items()}
  names = experiment.source().class_names
  titles = [names[i] if names else f'class {i}' for i in labels[chosen]]
  output = arguments.output or arguments.job_dir / 'routing.png'
  routing_weights.draw(images, dispatch, titles, output)
  concentration = {
      layer: float(w.max(axis=1).mean()) for layer, w in dispatch.items()
  }
  if arguments.json:
    json_output.show({
        'step': classifier.step,
        'moving_average': classifier.is_average,
        'picture': str(output),
        'mean_max_dispatch_weight': concentration,
    })
  else:
    print(classifier.which)
    for layer, value in concentration.items():
      print(f'block {layer}: largest weight of a slot, on average {value:.3f}')
    print(f'picture      {output}')
  return 0

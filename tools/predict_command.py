"""Predicts the classes of image files.

softmoe predict runs/SoftMoEFashionMnist shoe.png coat.jpg
softmoe predict runs/SoftMoEFashionMnist *.png --top=3 --json
"""

import argparse

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output

_BATCH = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
  jobs.add_job_arguments(parser)
  parser.add_argument(
      'images',
      nargs='+',
      type=arguments_of.path,
      help='PNG, JPEG, GIF, BMP files',
  )
  parser.add_argument(
      '--top',
      type=arguments_of.positive_int,
      default=5,
      help='how many classes (default: 5)',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  experiment = jobs.experiment_of(arguments)
  # Imported after the arguments are known to be good; they take seconds.
  import numpy as np
  from pax_softmoe.data.read import image_files
  from pax_softmoe.evaluation import inference

  classifier = inference.TrainedClassifier(
      experiment, arguments.job_dir, arguments.step
  )
  probabilities = []
  for start in range(0, len(arguments.images), _BATCH):
    names = arguments.images[start : start + _BATCH]
    images = [
        image_files.read(
            path,
            image_size=experiment.IMAGE_SIZE,
            channels=experiment.CHANNELS,
            ops=experiment.eval_ops(),
        )
        for path in names
    ]
    probabilities += list(classifier.probabilities(np.stack(images), names))
  source = experiment.source()
  class_names = source.class_names if source else ()
  result = []
  for path, row in zip(arguments.images, probabilities):
    best = np.argsort(-row, kind='stable')[: arguments.top]
    classes = [
        {
            'class': int(i),
            'name': class_names[i] if class_names else None,
            'probability': float(row[i]),
        }
        for i in best
    ]
    result.append({'image': str(path), 'classes': classes})
  if arguments.json:
    json_output.show({
        'step': classifier.step,
        'moving_average': classifier.is_average,
        'images': result,
    })
  else:
    print(classifier.which)
    for row in result:
      print(row['image'])
      for c in row['classes']:
        name = c['name'] or f'class {c["class"]}'
        print(f'  {c["probability"]:7.2%}  {name}')
  return 0

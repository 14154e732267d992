"""Evaluates a model's features by few-shot linear regression.

  softmoe fewshot runs/SoftMoEFashionMnist
  softmoe fewshot JOB_DIR --data=pets=/data/pets --data=/data/dtd --shots=1,10

From the features of a few training images of each class, ridge regression
learns to classify all test images (paper, section 3; see
pax_softmoe/evaluation/fewshot.py). A folder of data holds train-*.tfrecord* and
test-* or validation-*, with `image` and `label`, or the original files of
Fashion-MNIST. All of its training images are read. During training, the setting
FEWSHOT_DATA does the same at every evaluation.
"""

import argparse

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
  jobs.add_job_arguments(parser)
  parser.add_argument(
      '--data',
      action='append',
      metavar='[NAME=]DATA',
      help=(
          'folder of a data set, or tfds:NAME; may be repeated (default: the'
          ' embedded images)'
      ),
  )
  parser.add_argument(
      '--shots',
      type=arguments_of.list_of(arguments_of.positive_int),
      default=[1, 5, 10, 25],
      help='training images of each class (default: 1,5,10,25)',
  )
  parser.add_argument(
      '--seed',
      type=arguments_of.natural,
      help="which images those are (default: the job's SEED)",
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  shots = tuple(arguments.shots)
  experiment = jobs.experiment_of(arguments)
  # Imported after the arguments are known to be good; they take seconds.
  from pax_softmoe.data.read import fewshot_sets
  from pax_softmoe.evaluation import fewshot
  from pax_softmoe.evaluation import inference

  data = arguments.data or [fewshot_sets.EMBEDDED]
  settings = {'FEWSHOT_DATA': data, 'FEWSHOT_SHOTS': shots}
  if arguments.seed is not None:
    settings['SEED'] = arguments.seed
  experiment = type(experiment).with_settings(**settings)()
  plan = experiment.fewshot_plan()
  classifier = inference.TrainedClassifier(
      experiment, arguments.job_dir, arguments.step
  )
  sets = {}
  for s in plan.sets:
    train, test = (
        classifier.features(tpl.Instantiate()) for tpl in plan.inputs(s)
    )
    sets[s.name] = fewshot.Features(*train, *test)
  result = fewshot.evaluate(sets, plan.shots, plan.seed)
  if arguments.json:
    json_output.show({
        'step': classifier.step,
        'moving_average': classifier.is_average,
        'accuracy': result.accuracies,
        'penalty': result.penalties,
    })
    return 0
  print(f'{classifier.which}: accuracy by images of each class\n')
  width = max(map(len, ['penalty', *sets]))
  print(f'{"data":{width}}', *(f'{k:>9}' for k in shots))
  for name, row in result.accuracies.items():
    print(f'{name:{width}}', *(f'{row[k]:>9.2%}' for k in shots))
  print(
      f'{"penalty":{width}}', *(f'{result.penalties[k]:>9.3g}' for k in shots)
  )
  return 0

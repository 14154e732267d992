"""Makes a checkpoint of other weights: of a ViT elsewhere, or of a dense job.

  softmoe import B_16.npz --experiment=ViTB16 --set QK_NORM=False --output=DIR
  softmoe import DENSE_JOB_DIR --experiment=SoftMoEB16 --upcycle --output=DIR

Reads .npz files of big_vision and vision_transformer, and jobs of this package.
With --upcycle, the MLPs of a dense model become the experts of the other. Start
from the result with `softmoe train EXP --init_from=DIR`.
"""

import argparse

from etils import epath
from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import jobs
from pax_softmoe.tools import json_output
from pax_softmoe.tools import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('source', help='an .npz file, or the folder of a job')
  parser.add_argument(
      '--experiment', required=True, metavar='EXP', help='whose model to fill'
  )
  parser.add_argument(
      '--output',
      required=True,
      type=arguments_of.path,
      help='folder to write',
  )
  jobs.add_setting_argument(parser)
  parser.add_argument(
      '--upcycle', action='store_true', help='make experts of MLPs'
  )
  parser.add_argument(
      '--noise',
      type=arguments_of.no_less_than_0,
      default=0.0,
      help=(
          "with --upcycle: standard deviation of noise on each expert's"
          " kernels, in parts of the kernel's own (default: 0)"
      ),
  )
  parser.add_argument(
      '--fresh_head', action='store_true', help='do not take the head'
  )
  parser.add_argument(
      '--drop_cls', action='store_true', help='do not take the class token'
  )
  parser.add_argument(
      '--seed',
      type=arguments_of.natural,
      default=0,
      help='of noise and fresh weights',
  )
  parser.add_argument('--json', action='store_true', help='print JSON')


def run(arguments: argparse.Namespace) -> int:
  if arguments.noise and not arguments.upcycle:
    raise main.UsageError('--noise is for experts; add --upcycle')
  if not epath.Path(arguments.source).exists():
    raise main.UsageError(f'there is no file or folder {arguments.source}')
  name = arguments.experiment.removeprefix(jobs.EXPERIMENTS + '.')
  settings = jobs.parse_settings(arguments.set)
  experiment = jobs.find_experiment(name).with_settings(**settings)()
  output = arguments.output
  if '://' not in str(output):
    output = output.resolve()
  if (output / 'checkpoints').exists():
    raise main.UsageError(f'{output} already holds checkpoints')
  # Imported after the arguments are known to be good; they take seconds.
  from pax_softmoe.checkpoints import adapt
  from pax_softmoe.checkpoints import warm_start
  from pax_softmoe.checkpoints import writing
  from pax_softmoe.model_size import counts

  wanted = counts.abstract_weights(experiment)
  found = warm_start.find(
      arguments.source,
      counts.weight_shapes(experiment),
      experiment.IMAGE_SIZE // experiment.PATCH_SIZE,
      adapt.Changes(
          take_head=not arguments.fresh_head,
          upcycle=arguments.upcycle,
          noise=arguments.noise,
          seed=arguments.seed,
      ),
      drop_cls=arguments.drop_cls,
  )
  jobs.make_folder(output)
  jobs.check_free(output, name)
  writing.write(output, wanted, found, arguments.seed)
  jobs.record(output, name, settings, imported_from=arguments.source)
  result = {
      'experiment': name,
      'output': str(output),
      'parameters': counts.count(wanted),
      'fresh': [name for name, array in found.items() if array is None],
  }
  if arguments.json:
    json_output.show(result)
    return 0
  print(f'{result["parameters"]:,} parameters of {name} in {output}')
  if result['fresh']:
    print(f'started afresh: {", ".join(result["fresh"])}')
  return 0

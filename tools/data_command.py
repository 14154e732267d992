"""Writes images as sharded TFRecords, as DATA_DIR takes them.

  softmoe data ~/photos --output=/tmp/photos --validation_fraction=0.1
  softmoe data labels.csv --output=/tmp/tagged
  softmoe data tfds:cifar10 --output=/tmp/cifar10

A folder has a sub-folder of images for each class, maybe below folders train,
validation and test. A CSV or TSV file has the columns path, label (several with
';' between) and, if wanted, split. Pictures that TensorFlow would read otherwise
than a viewer shows them are rewritten. The output has a manifest.json with
counts, classes and checksums; nothing is written if an image cannot be read.
"""

import argparse
import shlex
import sys

from pax_softmoe.tools import arguments as arguments_of
from pax_softmoe.tools import json_output
from pax_softmoe.tools import quiet
from rich import console as rich_console
from rich import progress as rich_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
      'source', help='folder of images, CSV or TSV file, or tfds:NAME'
  )
  parser.add_argument(
      '--output',
      required=True,
      type=arguments_of.path,
      metavar='DIR',
      help='folder to make',
  )
  parser.add_argument(
      '--validation_fraction',
      type=arguments_of.fraction,
      default=0.0,
      metavar='F',
      help='share of the training images to hold out, chosen by their names',
  )
  parser.add_argument(
      '--images_per_shard',
      type=arguments_of.positive_int,
      default=1000,
      metavar='N',
      help='images of a file (default: 1000)',
  )
  parser.add_argument(
      '--skip_bad',
      action='store_true',
      help='leave out unreadable images and list them in skipped.csv',
  )
  parser.add_argument('--json', action='store_true', help='print the manifest')


def run(arguments: argparse.Namespace) -> int:
  # Takes seconds: they load TensorFlow.
  with quiet.startup():
    from pax_softmoe.data.prepare import listing
    from pax_softmoe.data.prepare import writing

  output = arguments_of.absolute(arguments.output)
  found = listing.find(arguments.source, arguments.validation_fraction)
  err = rich_console.Console(stderr=True)
  try:
    with rich_progress.Progress(console=err) as bar:
      task = bar.add_task('images', total=sum(found.sizes.values()))
      made = writing.write(
          found,
          output,
          source=arguments.source,
          images_per_shard=arguments.images_per_shard,
          skip_bad=arguments.skip_bad,
          progress=lambda: bar.advance(task),
      )
  except writing.BadImagesError as error:
    for image in error.images:
      print(f'{image.name}: {image.reason}', file=sys.stderr)
    raise
  if arguments.json:
    json_output.show(made)
    return 0
  for split, of in made['splits'].items():
    print(f'{split:12} {of["examples"]} images in {len(of["files"])} files')
  print(f'classes      {len(made["classes"])}')
  skipped = sum(found.sizes.values()) - sum(
      of['examples'] for of in made['splits'].values()
  )
  if skipped:
    print(f'left out     {skipped}, see {writing.SKIPPED_NAME}')
  if made['rewritten']:
    total = sum(made['rewritten'].values())
    reasons = ', '.join(f'{n} {why}' for why, n in made['rewritten'].items())
    print(
        f'rewritten    {total} pictures, as PNG or JPEG of quality 98:'
        f' {reasons}'
    )
  for note in made['notes']:
    print(f'note         {note}')
  if 'train' not in made['splits']:
    return 0
  split = next(
      (s for s in ('validation', 'test') if s in made['splits']), 'train'
  )
  words = (
      f'--set DATA_DIR={shlex.quote(str(output))}'
      f' --set NUM_CLASSES={len(made["classes"])}'
      f' --set "EVAL_SPLITS=({split!r},)"'
  )
  if made['multi_label']:
    words += ' --set LOSS=sigmoid'
  print(f'train on it  softmoe train SoftMoES16 {words}')
  print(f'on a CPU     softmoe train SoftMoEFashionMnist {words}')
  return 0

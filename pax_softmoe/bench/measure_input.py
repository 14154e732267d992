"""How much of a bare JPEG decode the input pipeline keeps.

  python -m pax_softmoe.bench.measure_input

Draws JPEG files, writes them as TFRecords with `softmoe data`'s code, and
reads them by turns in one process: once decoded only, by a plain tf.data
pipeline of as many threads, and once through `ImageInput` with each recipe's
augmentation. Prints images per second and core, medians over the turns, and
their ratios to the bare decode; and images per second of CPU time, which other
programs on the machine disturb less.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
from pax_softmoe.data.ops import image_ops
from pax_softmoe.data.prepare import listing
from pax_softmoe.data.prepare import writing
from pax_softmoe.data.read import image_input
from pax_softmoe.data.read import manifest
from praxis import pax_fiddle
import tensorflow as tf

SIZE = 224
RECIPES = {
    'crop, flip': (
        image_ops.InceptionCrop(SIZE),
        image_ops.FlipLeftRight(),
        image_ops.ValueRange(),
    ),
    'crop, flip, RandAugment': (
        image_ops.InceptionCrop(SIZE),
        image_ops.FlipLeftRight(),
        image_ops.RandAugment(2, 20),
        image_ops.ValueRange(),
    ),
}


def draw(count: int, folder: pathlib.Path) -> str:
  """Writes smooth random 500 x 375 JPEGs, about as large as ImageNet's."""
  rng = np.random.RandomState(0)
  examples = []
  for i in range(count):
    coarse = rng.randint(0, 255, (48, 64, 3)).astype(np.float32)
    image = tf.image.resize(coarse, [375, 500], 'bicubic').numpy()
    image = np.clip(image + 8 * rng.randn(*image.shape), 0, 255)
    encoded = tf.io.encode_jpeg(image.astype(np.uint8), quality=95).numpy()
    load = lambda encoded=encoded: encoded
    examples.append(listing.Example(str(i), (0,), load))
  found = listing.Listing(['any'], {'train': examples}, {'train': count})
  writing.write(
      found,
      folder,
      source='drawn',
      images_per_shard=max(1, count // 8),
      skip_bad=False,
      progress=lambda: None,
  )
  return str(folder)


def bare(folder: str, batch_size: int):
  """Yields batches of a plain decode of the same files."""
  feature = {'image': tf.io.FixedLenFeature([], tf.string)}

  def decode(record):
    encoded = tf.io.parse_single_example(record, feature)['image']
    return tf.io.decode_jpeg(encoded, 3)

  files = sorted(map(str, pathlib.Path(folder).glob('train-*')))
  ds = tf.data.TFRecordDataset(files).repeat()
  ds = ds.map(decode, num_parallel_calls=os.cpu_count()).batch(batch_size)
  return iter(ds)


def ours(folder: str, batch_size: int, ops):
  """Yields batches as training gets them."""
  inputs = pax_fiddle.Config(
      image_input.ImageInput,
      name='train',
      source=manifest.source(folder),
      split_name='train',
      is_training=True,
      batch_size=batch_size,
      image_size=SIZE,
      ops=ops,
  ).Instantiate()
  while True:
    yield inputs.get_next()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--images', type=int, default=512)
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--batches', type=int, default=8)
  parser.add_argument('--turns', type=int, default=5)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as temporary:
    folder = draw(arguments.images, pathlib.Path(temporary) / 'data')
    streams = {'bare decode': bare(folder, arguments.batch_size)}
    for name, ops in RECIPES.items():
      streams[name] = ours(folder, arguments.batch_size, ops)
    rates = {name: [] for name in streams}
    costs = {name: [] for name in streams}
    for turn in range(arguments.turns + 1):
      for name, stream in streams.items():
        # What was prepared while another one had its turn.
        for _ in range(2):
          next(stream)
        started, cpu = time.monotonic(), time.process_time()
        for _ in range(arguments.batches):
          next(stream)
        seconds = time.monotonic() - started
        cpu = time.process_time() - cpu
        if turn:  # The first one starts threads and fills buffers.
          images = arguments.batches * arguments.batch_size
          rates[name].append(images / seconds / os.cpu_count())
          costs[name].append(images / cpu)
  want = statistics.median(rates['bare decode'])
  want_cpu = statistics.median(costs['bare decode'])
  for name, values in rates.items():
    got, cpu = statistics.median(values), statistics.median(costs[name])
    print(
        f'{name:24} {got:6.0f} images/s/core ({min(values):.0f} to'
        f' {max(values):.0f}), {got / want:.0%}; {cpu:.0f} a CPU second,'
        f' {cpu / want_cpu:.0%}'
    )


if __name__ == '__main__':
  main()

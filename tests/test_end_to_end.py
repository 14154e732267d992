"""From a folder of photographs to a model that others serve, as a user does it.

Every step is a command of the README or of docs/weights.md, in a process of its
own: images, training that is ended and killed, fine-tuning, and each command
that reads a job.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import checkpoint_files
import numpy as np
import pax_jobs
from pax_softmoe.evaluation import inference
from pax_softmoe.tools import jobs
from PIL import Image
from PIL import ImageDraw
import pytest

pytestmark = pytest.mark.slow

NAME = 'SoftMoES16'
SETTINGS = dict(
    IMAGE_SIZE=32,
    PATCH_SIZE=8,
    MODEL_DIMS=64,
    HIDDEN_DIMS=128,
    NUM_HEADS=4,
    NUM_LAYERS=4,
    NUM_EXPERTS=8,
    TRAIN_BATCH_SIZE=32,
    EVAL_BATCH_SIZE=32,
    WARMUP_STEPS=10,
    SUMMARY_INTERVAL_STEPS=1,
)
PRETRAINING = dict(
    NUM_CLASSES=4,
    NUM_TRAIN_STEPS=250,
    COOLDOWN_STEPS=50,
    SAVE_INTERVAL_STEPS=25,
    EVAL_INTERVAL_STEPS=125,
)
FINETUNING = dict(
    NUM_CLASSES=3,
    IMAGE_SIZE=48,
    NUM_TRAIN_STEPS=80,
    LEARNING_RATE=0.03,
    EMA_DECAY=0.9,
    SAVE_INTERVAL_STEPS=40,
    EVAL_INTERVAL_STEPS=40,
)
SHAPES = {
    'circle': (220, 40, 40),
    'square': (40, 190, 60),
    'stripes': (50, 70, 220),
    'triangle': (230, 210, 40),
}
OTHER_SHAPES = {
    'circle': (40, 200, 200),
    'square': (200, 60, 200),
    'stripes': (230, 120, 30),
}


def draw(
    shape: str,
    color: tuple[int, ...],
    size: tuple[int, int],
    rng: np.random.RandomState,
) -> Image.Image:
  """Draws a shape, a little off its place and colour, on a dark ground."""
  width, height = size
  noise = rng.randint(0, 60, (height, width, 3)).astype(np.uint8)
  image = Image.fromarray(noise)
  pen = ImageDraw.Draw(image)
  fill = tuple(int(np.clip(v + rng.randint(-25, 25), 0, 255)) for v in color)
  r = min(size) * rng.uniform(0.25, 0.4)
  x, y = (n / 2 + rng.uniform(-0.1, 0.1) * n for n in size)
  if shape == 'circle':
    pen.ellipse([x - r, y - r, x + r, y + r], fill=fill)
  elif shape == 'square':
    pen.rectangle([x - r, y - r, x + r, y + r], fill=fill)
  elif shape == 'triangle':
    pen.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], fill=fill)
  else:
    for top in range(0, height, 8):
      pen.rectangle([0, top, width, top + 3], fill=fill)
  return image


def write_photographs(
    folder: pathlib.Path, shapes: dict[str, tuple[int, ...]], count: int
) -> None:
  """Writes JPEGs in a folder for each shape; some are grey or of odd sizes."""
  rng = np.random.RandomState(0)
  for shape, color in shapes.items():
    (folder / shape).mkdir(parents=True)
    for i in range(count):
      size = (48, 48) if i % 10 else tuple(rng.randint(24, 160, 2))
      image = draw(shape, color, size, rng)
      if i % 15 == 1:
        image = image.convert('L')
      image.save(folder / shape / f'{i:03}.jpg', quality=92)


def flags(**settings: object) -> list[str]:
  return [f'--set={k}={v}' for k, v in settings.items()]


def prepare(folder: pathlib.Path, shapes, count: int) -> pathlib.Path:
  """Returns a folder of TFRecords, as `softmoe data` makes it."""
  photographs = folder / 'photographs'
  write_photographs(photographs, shapes, count)
  output = folder / 'data'
  pax_jobs.softmoe(
      'data', photographs, f'--output={output}', '--validation_fraction=0.2'
  )
  return output


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp('photographs')


@pytest.fixture(name='data', scope='module')
def _data(folder) -> pathlib.Path:
  return prepare(folder, SHAPES, 75)


@pytest.fixture(name='parts', scope='module')
def _parts(folder, data) -> tuple[pathlib.Path, list[list[int]]]:
  """A job that was ended, killed, and then finished; steps of its parts."""
  job = folder / 'job'
  job.mkdir()
  log = job / 'pax.log'
  log.touch()
  settings = {**SETTINGS, **PRETRAINING, 'DATA_DIR': str(data)}
  command = ['train', NAME, f'--job_dir={job}', *flags(**settings)]
  child = subprocess.Popen(
      [sys.executable, '-m', 'pax_softmoe.tools', *command],
      env=pax_jobs.environment(),
  )
  try:
    pax_jobs.wait_for_step(child, log, step=12)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(pax_jobs.TIMEOUT_SECONDS) == 128 + signal.SIGTERM
  finally:
    if child.poll() is None:
      child.kill()
      child.wait()
  steps = [steps_of(log)]
  log.unlink()
  pax_flags = [pax_jobs.as_config(NAME, **settings), f'--job_log_dir={job}']
  killed = folder / 'killed.log'
  pax_jobs.run_until(pax_flags, steps[0][-1] + 40, killed)
  steps.append(steps_of(killed))
  pax_jobs.softmoe(*command)
  steps.append(steps_of(log))
  return job, steps


def steps_of(log: pathlib.Path) -> list[int]:
  pattern = r'step_i: (\d+), training loss'
  return [int(s) for s in re.findall(pattern, log.read_text())]


@pytest.fixture(name='job', scope='module')
def _job(parts) -> pathlib.Path:
  return parts[0]


@pytest.fixture(name='finetuned', scope='module')
def _finetuned(folder, job) -> tuple[pathlib.Path, dict[str, object]]:
  """A job of other classes and a larger size, and what it printed."""
  data = prepare(folder / 'other', OTHER_SHAPES, 40)
  settings = {**SETTINGS, **FINETUNING, 'DATA_DIR': str(data)}
  output = folder / 'finetuned'
  done = pax_jobs.softmoe(
      'train',
      f'{NAME}ImageNet',
      f'--init_from={job}',
      f'--job_dir={output}',
      '--json',
      *flags(**settings),
  )
  return output, json.loads(done.stdout)


def test_all_images_are_counted(data):
  manifest = json.loads((data / 'manifest.json').read_text())
  assert manifest['classes'] == list(SHAPES)
  counts = {k: v['examples'] for k, v in manifest['splits'].items()}
  assert counts == {'train': 240, 'validation': 60}
  assert (
      manifest['image_sizes']['smallest'] != manifest['image_sizes']['largest']
  )


def test_each_part_goes_on_from_the_checkpoint_before(parts):
  ended, killed, finished = parts[1]
  assert ended == list(range(1, len(ended) + 1)) and len(ended) < 200
  # SIGTERM leaves a checkpoint of the last step.
  assert killed[0] == ended[-1] + 1
  # Without one, some steps are made again.
  first = finished[0]
  assert first <= killed[-1] + 1
  assert (first - 1) % PRETRAINING['SAVE_INTERVAL_STEPS'] == 0
  assert first > killed[0]
  assert finished == list(range(first, PRETRAINING['NUM_TRAIN_STEPS'] + 1))


def test_model_has_learned_the_classes(job, folder):
  got = json.loads(pax_jobs.softmoe('evaluate', job, '--json').stdout)
  assert got['step'] == 250 and got['examples'] == 60
  # Chance is a quarter, with a deviation of 6 %.
  assert got['accuracy'] > 0.8
  paths = sorted((folder / 'photographs').rglob('*.jpg'))
  done = pax_jobs.softmoe('predict', job, *paths, '--top=1', '--json')
  images = json.loads(done.stdout)['images']
  assert [row['image'] for row in images] == list(map(str, paths))
  right = [
      row['classes'][0]['name'] == path.parent.name
      for row, path in zip(images, paths)
  ]
  assert np.mean(right) > 0.8


def test_features_of_few_images_tell_classes_apart(job, data):
  command = ['fewshot', job, f'--data=shapes={data}', '--shots=1,10', '--json']
  got = json.loads(pax_jobs.softmoe(*command).stdout)['accuracy']['shapes']
  assert got['10'] > 0.8


def test_finetuning_starts_from_the_job(finetuned, job):
  folder, result = finetuned
  assert result['step'] == FINETUNING['NUM_TRAIN_STEPS']
  assert result['examples'] == 24
  # Chance is a third, with a deviation of 10 %.
  assert result['accuracy'] > 0.7
  log = (folder / 'pax.log').read_text()
  assert f'Weights start from {job}; afresh: head/bias, head/kernel' in log
  got = json.loads(pax_jobs.softmoe('evaluate', folder, '--json').stdout)
  assert got['moving_average']
  for name in ('accuracy', 'loss'):
    assert got[name] == pytest.approx(result[name], rel=1e-4)


def test_exported_model_computes_the_same_in_tensorflow(finetuned):
  job = finetuned[0]
  output = job / 'exported'
  pax_jobs.softmoe('export', job, f'--output={output}')
  pixels = np.random.RandomState(0).randint(0, 256, [5, 48, 48, 3], np.uint8)
  got = checkpoint_files.serve_elsewhere(output, pixels)
  name, settings = jobs.recorded(job)
  experiment = jobs.find_experiment(name).with_settings(**settings)()
  classifier = inference.TrainedClassifier(experiment, job)
  want = classifier.predictions(pixels / np.float32(127.5) - 1).logits
  # Computed in bfloat16, of 8 bits.
  np.testing.assert_allclose(got['logits'], want, rtol=0.03, atol=0.03)
  assert np.std(want) > 0.3
  names = json.loads((output / 'assets/class_names.json').read_text())
  assert names == list(OTHER_SHAPES)


def test_routing_is_drawn_with_class_names(finetuned):
  job = finetuned[0]
  picture = job / 'picture.png'
  done = pax_jobs.softmoe('routing', job, f'--output={picture}', '--json')
  weights = json.loads(done.stdout)['mean_max_dispatch_weight']
  assert len(weights) == SETTINGS['NUM_LAYERS'] // 2
  # 36 tokens: an even mix has 1/36 of each.
  assert all(1 / 36 < w < 1 for w in weights.values())
  with Image.open(picture) as image:
    assert min(image.size) > 100

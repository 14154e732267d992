"""Classes of image files, by `softmoe predict`."""

import json

import numpy as np
from pax_softmoe.tools import main
from PIL import Image
import pytest


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def test_files_are_predicted_with_names(
    tiny_job, pixels, logits, tmp_path, capsys
):
  paths = [str(tmp_path / f'{i}.png') for i in range(len(pixels))]
  for path, image in zip(paths, pixels):
    Image.fromarray(image[..., 0]).save(path)
  assert main.main(['predict', str(tiny_job), *paths, '--top=3', '--json']) == 0
  got = json.loads(capsys.readouterr().out)
  assert got['step'] == 7
  for i, row in enumerate(got['images']):
    assert row['image'] == paths[i]
    best = np.argsort(-logits[i])[:3]
    assert [c['class'] for c in row['classes']] == best.tolist()
    np.testing.assert_allclose(
        [c['probability'] for c in row['classes']],
        softmax(logits)[i][best],
        rtol=1e-4,
    )
  assert main.main(['predict', str(tiny_job), paths[0], '--top=1']) == 0
  name = got['images'][0]['classes'][0]['name']
  assert f'  {name}' in capsys.readouterr().out


def test_photographs_of_other_sizes_are_resized(tiny_job, tmp_path, capsys):
  path = str(tmp_path / 'photo.jpg')
  noise = np.random.RandomState(0).randint(0, 256, [50, 80, 3], np.uint8)
  Image.fromarray(noise).save(path)
  assert main.main(['predict', str(tiny_job), path, '--json']) == 0
  (row,) = json.loads(capsys.readouterr().out)['images']
  assert sum(c['probability'] for c in row['classes']) <= 1


@pytest.mark.parametrize(
    'text, message',
    [('no image', 'cannot be read as an image: '), (None, 'No such file')],
)
def test_unreadable_files_are_named(text, message, tiny_job, tmp_path, capsys):
  path = tmp_path / 'broken.png'
  if text:
    path.write_text(text)
  assert main.main(['predict', str(tiny_job), str(path)]) == 1
  (line,) = [
      l for l in capsys.readouterr().err.splitlines() if l.startswith('softmoe')
  ]
  assert f'{path} cannot be read' in line and message in line

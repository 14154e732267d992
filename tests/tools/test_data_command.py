"""What `softmoe data` writes and says."""

import json

import numpy as np
from pax_softmoe.tools import main
from PIL import Image


def folder(root):
  for name, count in (('cat', 3), ('dog', 2)):
    for i in range(count):
      path = root / 'train' / name / f'{i}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.full([8, 8, 3], 40 * i, np.uint8)).save(path)
  path = root / 'validation' / 'cat' / 'x.png'
  path.parent.mkdir(parents=True)
  Image.fromarray(np.zeros([8, 8, 3], np.uint8)).save(path)
  return root


def test_images_are_counted_by_split_and_class(tmp_path, capsys):
  source, output = folder(tmp_path / 'in'), tmp_path / 'out'
  command = ['data', str(source), f'--output={output}', '--json']
  assert main.main(command) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['classes'] == ['cat', 'dog']
  counts = {k: v['examples'] for k, v in found['splits'].items()}
  assert counts == {'train': 5, 'validation': 1}


def test_a_folder_that_has_something_is_left_alone(tmp_path, capsys):
  source, output = folder(tmp_path / 'in'), tmp_path / 'out'
  output.mkdir()
  (output / 'mine').write_text('of somebody')
  assert main.main(['data', str(source), f'--output={output}']) != 0
  assert str(output) in capsys.readouterr().err
  assert [p.name for p in output.iterdir()] == ['mine']

"""Commands whose job, data and results are in a bucket.

The bucket is a folder of this machine; what a command takes for a local path
instead would lie in the current folder.
"""

import json
import os

import bucket
import checkpoint_files
from etils.epath import gpath
import numpy as np
from pax_softmoe import files
from pax_softmoe.checkpoints import checksums
from pax_softmoe.checkpoints import reading
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main
from PIL import Image
import pytest
from safetensors import numpy as safetensors_numpy

SETTINGS = {**checkpoint_files.TINY, 'NUM_EXPERTS': checkpoint_files.EXPERTS}
JOB = f'{bucket.NAME}/jobs/first'


@pytest.fixture(name='root', scope='module')
def _root(tmp_path_factory):
  """Where the bucket lies, with a job in it."""
  root = tmp_path_factory.mktemp('bucket')
  folder = root / 'jobs/first'
  checkpoint_files.save_job(folder, checkpoint_files.experiment())
  # A file, not a name, ends a save in a bucket.
  (folder / 'checkpoints/checkpoint_00000007/commit_success.txt').touch()
  jobs.record(folder, checkpoint_files.NAME, SETTINGS)
  with bucket.at(root):
    yield root


@pytest.fixture(name='softmoe')
def _softmoe(root, tmp_path, monkeypatch, capsys):
  """Returns a function that runs a command, and gives what it prints."""
  monkeypatch.chdir(tmp_path)

  def run(*arguments):
    code = main.main([*map(str, arguments), '--json'])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert not os.listdir(tmp_path)
    return json.loads(out)

  return run


def test_evaluate(softmoe):
  assert softmoe('evaluate', JOB)['step'] == 7


def test_verify(softmoe):
  result = softmoe('verify', JOB)
  assert result['whole']
  (row,) = result['checkpoints']
  assert row['checksums'] and not row['extra']
  assert row['folder'] == f'{JOB}/checkpoints/checkpoint_00000007'


def test_export(softmoe, root):
  output = f'{bucket.NAME}/exported/first'
  result = softmoe('export', JOB, f'--output={output}')
  assert result['weights'] == f'{output}/weights.safetensors'
  folder = root / 'exported/first'
  assert (folder / 'saved_model.pb').stat().st_size > 10_000
  assert len(json.loads((folder / 'assets/class_names.json').read_text())) == 10
  got = safetensors_numpy.load_file(folder / 'weights.safetensors')
  want = reading.read_weights(JOB)[1]
  np.testing.assert_array_equal(got['head.kernel'], want.head.kernel)


def test_export_refuses_a_folder_that_is_not_empty(root, capsys):
  (root / 'kept').mkdir()
  (root / 'kept/file').touch()
  assert main.main(['export', JOB, f'--output={bucket.NAME}/kept']) == 2
  assert 'gs://bucket/kept is not empty' in capsys.readouterr().err


def test_import(softmoe, root):
  output = f'{bucket.NAME}/imported'
  flags = [f'--set={k}={v}' for k, v in SETTINGS.items()]
  softmoe(
      'import',
      JOB,
      f'--experiment={checkpoint_files.NAME}',
      f'--output={output}',
      *flags,
  )
  folder = root / 'imported/checkpoints/checkpoint_00000000'
  assert (folder / checksums.NAME).exists()
  assert (folder / 'commit_success.txt').exists()
  assert (root / 'imported/softmoe.json').exists()
  assert softmoe('verify', output)['whole']
  step, got = reading.read_weights(output)
  want = reading.read_weights(JOB)[1]
  assert step == 0
  np.testing.assert_array_equal(got.vit.positions, want.vit.positions)


def test_routing_beside_the_job_and_elsewhere(softmoe, root):
  result = softmoe('routing', JOB, '--images=1')
  assert result['picture'] == f'{JOB}/routing.png'
  assert Image.open(root / 'jobs/first/routing.png').format == 'PNG'
  output = f'{bucket.NAME}/pictures.png'
  assert softmoe('routing', JOB, f'--output={output}')['picture'] == output
  assert Image.open(root / 'pictures.png').format == 'PNG'


def test_predict(softmoe, root):
  pixels = np.random.RandomState(0).randint(0, 256, [28, 28], np.uint8)
  Image.fromarray(pixels).save(root / 'shoe.png')
  url = f'{bucket.NAME}/shoe.png'
  (row,) = softmoe('predict', JOB, url, '--top=10')['images']
  assert row['image'] == url
  assert sum(c['probability'] for c in row['classes']) == pytest.approx(1)


def test_a_bucket_out_of_reach_is_no_missing_folder(root, monkeypatch, capsys):
  assert files.is_folder(JOB)
  assert not files.is_folder(f'{JOB}/softmoe.json')
  assert not files.is_folder(f'{bucket.NAME}/nothing')

  def fail(_):
    raise RuntimeError('no such host')

  monkeypatch.setattr(gpath.PosixGPath, 'exists', fail)
  for command in (
      ['data', f'{bucket.NAME}/images', '--output=/tmp/none'],
      ['verify', JOB],
  ):
    assert main.main(command) == 1
    assert 'no such host' in capsys.readouterr().err

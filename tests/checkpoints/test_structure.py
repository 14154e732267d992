"""What a checkpoint must have, by its metadata and headers."""

import json

from etils import epath
from pax_softmoe.checkpoints import structure
import pytest


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """A checkpoint of one weight of 4 x 2 numbers in two parts, and its step."""
  leaf = {
      '_array_metadata_tag': True,
      'is_optax_masked_node': False,
      'unpadded_shape': [4, 2],
      'dtype': 'float32',
  }
  tree = {'train_state_metadata': {'mdl_vars': {'params': {'w': leaf}}}}
  (tmp_path / 'metadata').mkdir()
  (tmp_path / 'metadata/metadata').write_text(json.dumps(tree))
  for name, shape, chunks, parts in (
      ('mdl_vars.params.w', [4, 2], [2, 2], ('0.0', '1.0')),
      ('step', [], [], ('0',)),
  ):
    array = tmp_path / 'state' / name
    array.mkdir(parents=True)
    spec = {'shape': shape, 'chunks': chunks, 'dtype': '<f4'}
    (array / '.zarray').write_text(json.dumps(spec))
    for part in parts:
      (array / part).write_bytes(b'x')
  return epath.Path(tmp_path)


def test_a_whole_checkpoint_has_no_problems(folder):
  assert structure.problems(folder) == []
  assert structure.array_of(folder, 'mdl_vars.params.w') == ((4, 2), 'float32')
  assert not structure.is_ocdbt(folder)


@pytest.mark.parametrize(
    'damage, problem',
    [
        (
            lambda f: (f / 'state/mdl_vars.params.w/1.0').unlink(),
            'state/mdl_vars.params.w/1.0 is missing',
        ),
        (
            lambda f: (f / 'state/step/.zarray').unlink(),
            'state/step/.zarray is missing',
        ),
        (
            lambda f: (f / 'state/step/.zarray').write_text('['),
            'state/step/.zarray is damaged',
        ),
        (
            lambda f: (f / 'metadata/metadata').unlink(),
            'metadata/metadata is missing',
        ),
        (
            lambda f: (f / 'metadata/metadata').write_text('[]'),
            'metadata/metadata is damaged',
        ),
    ],
)
def test_what_is_missing_or_damaged_is_named(damage, problem, folder):
  damage(folder)
  assert structure.problems(folder) == [problem]


def test_an_array_of_another_shape_than_the_metadata_say(folder):
  spec = {'shape': [4, 3], 'chunks': [4, 3], 'dtype': '<f4'}
  path = folder / 'state/mdl_vars.params.w/.zarray'
  path.write_text(json.dumps(spec))
  (problem,) = structure.problems(folder)
  assert 'says float32 [4, 3], the metadata float32 [4, 2]' in problem


def test_processes_share_the_work(folder):
  (folder / 'state/step/.zarray').unlink()
  found = [structure.problems(folder, i, 2) for i in range(2)]
  assert sorted(map(len, found)) == [0, 1]


@pytest.mark.parametrize(
    'path, kvstore',
    [
        ('gs://b/x/y', {'driver': 'gcs', 'bucket': 'b', 'path': 'x/y'}),
        ('/a/b', {'driver': 'file', 'path': '/a/b'}),
    ],
)
def test_arrays_are_opened_where_they_lie(path, kvstore):
  spec = structure.tensorstore_spec(epath.Path(path))
  assert spec == {'driver': 'zarr', 'kvstore': kvstore}

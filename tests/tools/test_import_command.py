"""Weights of other models become checkpoints of ours."""

import io
import json
import pickle
import re
import zipfile

import checkpoint_files
import jax
from jax import numpy as jnp
import layer_testing
import ml_dtypes
import numpy as np
import numpy_vit
from pax_softmoe.checkpoints import big_vision
from pax_softmoe.checkpoints import reading
from pax_softmoe.evaluation import inference
from pax_softmoe.layers import experts
from pax_softmoe.tools import main
import pytest

DENSE = 'ViTFashionMnist'
SIZES = dict(
    patch=7,
    channels=1,
    dims=16,
    hidden=32,
    heads=2,
    layers=2,
    tokens=16,
    classes=10,
)
SETTINGS = [
    f'--set={k}={v}'
    for k, v in {**checkpoint_files.TINY, 'QK_NORM': False}.items()
]
OLD_NAMES = {
    'LayerNorm_1/': 'LayerNorm_2/',
    'MultiHeadDotProductAttention_0/': 'MultiHeadDotProductAttention_1/',
    'MlpBlock_0/': 'MlpBlock_3/',
    'pos_embedding': 'Transformer/posembed_input/pos_embedding',
}


def arrays(**sizes):
  return numpy_vit.random_arrays(np.random.RandomState(3), **{**SIZES, **sizes})


def current(names):
  return {f'params/{n}': a for n, a in names.items()} | {'opt/count': 7}


def original(names):
  for new, old in OLD_NAMES.items():
    names = {n.replace(new, old): a for n, a in names.items()}
  return names


def scanned(names):
  first = 'Transformer/encoderblock_0/'
  return {n: a for n, a in names.items() if 'encoderblock' not in n} | {
      n.replace('_0/', '/', 1): np.stack(
          [a, names[n.replace(first, 'Transformer/encoderblock_1/')]]
      )
      for n, a in names.items()
      if n.startswith(first)
  }


def before_2022(names):
  return {
      f'opt/target/{n}'.replace('/pos_emb', '/Transformer/pos_emb'): a
      for n, a in names.items()
  }


def run(tmp_path, names, *more, name=DENSE, settings=SETTINGS):
  """Imports arrays; returns the exit code and where they are."""
  file = tmp_path / 'weights.npz'
  np.savez(file, **names)
  output = tmp_path / 'imported'
  command = ['import', file, f'--experiment={name}', f'--output={output}']
  return main.main([str(w) for w in [*command, *settings, *more]]), output


@pytest.mark.parametrize(
    'naming',
    [current, original, scanned, before_2022],
    ids=lambda f: f.__name__,
)
def test_features_are_those_of_the_source(naming, tmp_path):
  names = arrays()
  code, output = run(tmp_path, naming(names))
  assert code == 0
  settings = json.loads((output / 'softmoe.json').read_text())['settings']
  experiment = checkpoint_files.experiment(DENSE, **settings)
  classifier = inference.TrainedClassifier(experiment, output)
  images = checkpoint_files.images()
  got = classifier.predictions(images)
  want = numpy_vit.features(names, images, names['pos_embedding'][0])
  np.testing.assert_allclose(got.features, want, rtol=1e-5, atol=1e-5)
  logits = want @ names['head/kernel'] + names['head/bias']
  np.testing.assert_allclose(got.logits, logits, rtol=1e-5, atol=2e-5)


def test_fixed_positions_are_computed(tmp_path):
  names = arrays()
  del names['pos_embedding']
  code, output = run(tmp_path, current(names))
  assert code == 0
  # Patch 6 of 4 x 4 is in row 1, column 2; of 16 dims four each are sines and
  # cosines of the column, then of the row.
  rates = 1 / 10_000 ** np.array([0, 1 / 3, 2 / 3, 1])
  parts = np.sin(2 * rates), np.cos(2 * rates), np.sin(rates), np.cos(rates)
  got = reading.read_weights(output)[1].vit.positions
  np.testing.assert_allclose(got[6], np.concatenate(parts), rtol=1e-6)


def with_cls(names, **_):
  positions = np.concatenate([names['pos_embedding'][:, :1]] * 17, axis=1)
  return {**names, 'cls': np.zeros([1, 1, 16]), 'pos_embedding': positions}


def renamed(names, old, new):
  return {n.replace(old, new): a for n, a in names.items()}


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda n: with_cls(n), 'has a class token .* --drop_cls'),
        (
            lambda n: n | {'pre_logits/kernel': np.zeros([16, 16])},
            'hidden layer before the head .pre_logits/kernel.*--fresh_head',
        ),
        (
            lambda n: n | {'MAPHead_0/probe': np.zeros([1, 1, 16])},
            'pools with attention .MAPHead_0.*--fresh_head',
        ),
        (
            lambda n: renamed(n, 'head/', 'aux/'),
            r'aux/kernel \(16, 10\) has no place',
        ),
        (
            lambda n: {k: a for k, a in n.items() if 'head' not in k},
            'has no head .head/bias.; start a head afresh .--fresh_head',
        ),
        (
            lambda n: arrays(patch=14),
            (
                r'embedding/kernel is \(196, 16\), the model needs \(49, 16\)'
                r' for vit/patch_embedding/kernel; set PATCH_SIZE or CHANNELS'
            ),
        ),
        (
            lambda n: arrays(hidden=64),
            (
                r'encoderblock_0/MlpBlock_0/Dense_0/\w+ is .*64.*, the model'
                ' needs .*32.* for .*; set HIDDEN_DIMS'
            ),
        ),
        (
            lambda n: arrays(heads=4),
            (
                r'kernel is \(16, 4, 4\), the model .* set'
                r' NUM_HEADS|bias.*NUM_HEADS'
            ),
        ),
        (lambda n: arrays(classes=7), r'head/bias is \(7,\).*set NUM_CLASSES'),
        (
            lambda n: arrays(layers=3),
            'has 3 blocks, the model 2; set NUM_LAYERS to 3',
        ),
        (lambda n: {'a': np.zeros(3)}, 'holds no vision transformer'),
    ],
)
def test_what_does_not_fit_is_named(change, message, tmp_path, capsys):
  code, output = run(tmp_path, change(arrays()))
  assert code == 1
  assert not output.exists()
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert re.search(message, error), error


def refused(path, message, read=None):
  """Fails unless opening a file, or reading an array, gives such a line."""
  with pytest.raises(ValueError, match=message) as error:
    found = big_vision.open_npz(path, grid=4)
    assert read is not None
    found[read].whole()
  assert str(error.value).startswith(str(path))
  assert '\n' not in str(error.value)


def saved(tmp_path, **changes):
  path = tmp_path / 'w.npz'
  np.savez(
      path, **(arrays() | {n.replace('__', '/'): a for n, a in changes.items()})
  )
  return path


@pytest.mark.parametrize('zipped', [False, True])
def test_one_flipped_byte_of_an_array_is_named(tmp_path, zipped):
  path = tmp_path / 'w.npz'
  names = {'embedding/kernel': np.zeros([7, 7, 1, 16]), **arrays()}
  (np.savez_compressed if zipped else np.savez)(path, **names)
  with zipfile.ZipFile(path) as archive:
    info = archive.getinfo('head/kernel.npy')
  data = bytearray(path.read_bytes())
  # In the numbers, behind the headers of the member and of the array.
  data[info.header_offset + info.compress_size // 2 + 100] ^= 16
  path.write_bytes(data)
  refused(path, 'head/kernel is damaged .*; copy the file again', 'head/kernel')


def test_damaged_header_of_an_array_is_named(tmp_path):
  path = saved(tmp_path)
  data = path.read_bytes()
  where = data.index(b'NUMPY', data.index(b'head/kernel.npy'))
  path.write_bytes(data[:where] + b'nUMPY' + data[where + 5 :])
  refused(path, 'head/kernel is damaged')


@pytest.mark.parametrize('how', ['empty', 'cut', 'npy', 'pickle', 'text'])
def test_files_that_are_no_archives_are_named(tmp_path, how):
  path = saved(tmp_path)
  array = io.BytesIO()
  np.save(array, np.zeros(3))
  path.write_bytes(
      {
          'empty': b'',
          'cut': path.read_bytes()[:-500],
          'npy': array.getvalue(),
          'pickle': pickle.dumps({'embedding/kernel': np.zeros(3)}),
          'text': b'weights',
      }[how]
  )
  refused(path, 'is no .npz file of arrays, or not a whole one; copy it again')


@pytest.mark.parametrize(
    'name, array, message',
    [
        ('head/bias', np.array([None] * 10), 'head/bias is an array of object'),
        ('head/bias', np.array(['a'] * 10), 'head/bias is an array of <U1'),
        ('head/bias', np.zeros(10, complex), 'an array of complex128'),
        (
            'pos_embedding',
            np.zeros([16, 16]),
            r'\(16, 16\) must have the shape',
        ),
        ('pos_embedding', np.zeros([]), r'\(\) must have the shape'),
        (
            'embedding/kernel',
            np.zeros([]),
            r'embedding/kernel \(\) is no square',
        ),
        ('embedding/kernel', np.zeros([4, 4]), 'embedding/kernel .* no square'),
    ],
)
def test_arrays_of_other_kinds_and_shapes_are_named(
    tmp_path, name, array, message
):
  refused(saved(tmp_path, **{name.replace('/', '__'): array}), message)


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(value, tmp_path, capsys):
  names = arrays()
  names['head/kernel'] = names['head/kernel'].astype(np.float64)
  names['head/kernel'][3, :2] = value
  code, output = run(tmp_path, names)
  assert code == 1 and not (output / 'checkpoints').exists()
  assert (
      'weights.npz: 2 of 160 numbers of head/kernel are not finite as float32;'
      in capsys.readouterr().err
  )


@pytest.mark.parametrize('dtype', ['int32', 'uint8', 'float16', 'float64'])
def test_numbers_of_any_kind_become_float32(dtype, tmp_path):
  bias = np.arange(10).astype(dtype)
  found = big_vision.open_npz(saved(tmp_path, head__bias=bias), grid=4)
  got = found['head/bias'].whole()
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, np.arange(10))


def test_bfloat16_is_read(tmp_path):
  kernel = arrays()['head/kernel'].astype(ml_dtypes.bfloat16)
  np.savez(tmp_path / 'w.npz', **(arrays() | {'head/kernel': kernel}))
  found = big_vision.open_npz(tmp_path / 'w.npz', grid=4)
  got = found['head/kernel'].whole()
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, kernel.astype(np.float32))


def test_body_of_a_model_with_its_attention_head_outermost(tmp_path):
  names = arrays() | {
      'probe': np.zeros([1, 1, 16]),
      'LayerNorm_0/bias': np.zeros(16),
      'MlpBlock_0/Dense_0/bias': np.zeros(32),
  }
  np.savez(tmp_path / 'w.npz', **names)
  found = big_vision.open_npz(tmp_path / 'w.npz', grid=4, fresh_head=True)
  assert 'vit/positions' in found and 'head/kernel' not in found


def test_qk_norm_must_be_off(tmp_path, capsys):
  code, _ = run(tmp_path, arrays(), settings=SETTINGS[:-1])
  assert code == 1
  assert 'set QK_NORM to False' in capsys.readouterr().err


def test_body_of_a_token_model_with_a_hidden_layer(tmp_path):
  names = with_cls(arrays()) | {'pre_logits/kernel': np.zeros([16, 16])}
  code, output = run(tmp_path, names, '--drop_cls', '--fresh_head')
  assert code == 0
  _, weights = reading.read_weights(output)
  np.testing.assert_array_equal(
      weights.vit.positions, names['pos_embedding'][0, 1:]
  )
  # The start of a head is the prior.
  np.testing.assert_allclose(weights.head.bias, np.full(10, -np.log(10)))
  assert not weights.head.kernel.any()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['/nowhere.npz'], 'there is no file or folder /nowhere.npz'),
        ([__file__, '--noise=0.1'], '--noise is for experts; add --upcycle'),
        ([__file__, '--noise=-1', '--upcycle'], 'give a number of 0 or more'),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, message, tmp_path, capsys):
  output = f'--output={tmp_path / "out"}'
  assert main.main(['import', f'--experiment={DENSE}', output, *arguments]) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert message in line


def upcycle(tmp_path, *more):
  """Returns weights of a dense job, and of experts made of them."""
  dense, output = tmp_path / 'dense', tmp_path / 'moe'
  weights = checkpoint_files.save_job(dense, checkpoint_files.experiment(DENSE))
  settings = [f'--set={k}={v}' for k, v in checkpoint_files.TINY.items()]
  command = [
      *('import', dense, '--experiment=SoftMoEFashionMnist', '--upcycle'),
      *(f'--output={output}', '--set=NUM_EXPERTS=4', *settings, *more),
  ]
  assert main.main([str(w) for w in command]) == 0
  return weights, reading.read_weights(output)[1]


def test_upcycled_experts_are_the_mlps(tmp_path):
  dense, moe = upcycle(tmp_path)
  block = jax.tree_util.tree_map(
      lambda x: x[1], dense['vit']['blocks_0']['sub']
  )
  layer = layer_testing.instantiate(
      experts.ExpertMlps, input_dims=16, hidden_dims=32, num_experts=4
  )
  found = moe.vit.blocks_1.sub
  weights = jax.tree_util.tree_map(
      lambda x: x[0], found.feed_forward.moe.experts
  )
  slots = np.random.RandomState(0).normal(size=[4, 3, 1, 16])
  got = layer_testing.apply(layer, {'params': weights}, jnp.float32(slots))
  mlp = {
      f'{theirs}/{kind}': block['feed_forward'][ours][place][leaf]
      for theirs, ours in (('0', 'ffn_layer1'), ('1', 'ffn_layer2'))
      for kind, place, leaf in (
          ('kernel', 'linear', 'w'),
          ('bias', 'bias', 'b'),
      )
  }
  want = numpy_vit.dense(
      mlp, '1', numpy_vit.gelu(numpy_vit.dense(mlp, '0', slots))
  )
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  # All else is as it was, layer 0 in its own stack; the router is new.
  np.testing.assert_array_equal(moe.vit.positions, dense['vit']['positions'])
  np.testing.assert_array_equal(found.attention.wq[0], block['attention']['wq'])
  np.testing.assert_array_equal(
      moe.vit.blocks_0.sub.feed_forward.ffn_layer1.linear.w[0],
      dense['vit']['blocks_0']['sub']['feed_forward']['ffn_layer1']['linear'][
          'w'
      ][0],
  )
  phi = found.feed_forward.moe.phi
  assert phi.shape == (1, 16, 4, 1)
  assert phi.std() == pytest.approx(1 / 8, rel=0.3)


def test_noise_is_relative_and_tells_experts_apart(tmp_path):
  dense, moe = upcycle(tmp_path, '--noise=0.1')
  found = moe.vit.blocks_1.sub.feed_forward.moe.experts
  kernel = dense['vit']['blocks_0']['sub']['feed_forward']['ffn_layer1'][
      'linear'
  ]['w'][1]
  noise = found.wi[0] - kernel
  assert noise.std() == pytest.approx(0.1 * kernel.std(), rel=0.05)
  correlation = np.corrcoef(noise.reshape(4, -1))
  assert np.abs(correlation - np.eye(4)).max() < 0.2
  assert (found.bi[0] == found.bi[0, 0]).all()


def test_experts_are_made_only_when_asked(tmp_path, capsys):
  dense = tmp_path / 'dense'
  checkpoint_files.save_job(dense, checkpoint_files.experiment(DENSE))
  settings = [f'--set={k}={v}' for k, v in checkpoint_files.TINY.items()]
  command = ['import', dense, '--experiment=SoftMoEFashionMnist', *settings]
  code = main.main([str(w) for w in [*command, f'--output={tmp_path / "out"}']])
  assert code == 1
  error = capsys.readouterr().err
  assert 'an MLP in vit/block_1/feed_forward, the model experts' in error

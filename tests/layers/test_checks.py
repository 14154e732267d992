"""What layers refuse, and the dtype of what they return."""

import jax
from jax import numpy as jnp
import layer_testing
import numpy as np
from pax_softmoe import layers
from pax_softmoe.layers import attention
from praxis import pax_fiddle
import pytest
import versions

B, N, D, H, E = 2, 8, 4, 6, 4

ROUTERS = (
    layers.SoftMoE,
    layers.TokensChoiceMoE,
    layers.ExpertsChoiceMoE,
    layers.FixedRoutingMoE,
)
LEARNED = ROUTERS[:3]
SPARSE = ROUTERS[1:3]


def make(cls, **fields):
  given = dict(input_dims=D, hidden_dims=H, num_experts=E)
  if cls is layers.FixedRoutingMoE:
    given['slots_per_expert'] = 2
  if cls is layers.MoEFeedForward:
    moe = pax_fiddle.Config(layers.SoftMoE)
    given |= dict(moe_tpl=moe)
  if cls is attention.SelfAttention:
    given = dict(input_dims=D, num_heads=2)
  if cls is layers.VisionTransformer:
    given = dict(
        image_size=4,
        patch_size=2,
        channels=1,
        model_dims=D,
        hidden_dims=H,
        num_heads=2,
        num_layers=1,
    )
  return layer_testing.instantiate(cls, **{**given, **fields})


def refusal(layer, *args):
  with pytest.raises(ValueError) as caught:
    jax.eval_shape(lambda: layer_testing.init(layer, *args))
  message = str(caught.value)
  assert '\n' not in message
  return message


WHOLE = [
    (2.5, '2.5; set it to 1 or more, a whole number'),
    (4.0, '4.0; set it to 1 or more, a whole number'),
    (True, 'True; set it to 1 or more, a whole number'),
    ('4', "'4'; set it to 1 or more, a whole number"),
    (None, 'None; set it to 1 or more, a whole number'),
    (0, '0; set it to 1 or more, a whole number'),
    (-3, '-3; set it to 1 or more, a whole number'),
]


@pytest.mark.parametrize('value, told', WHOLE)
@pytest.mark.parametrize(
    'cls, name',
    [
        *[
            (cls, name)
            for cls in ROUTERS
            for name in ('input_dims', 'hidden_dims', 'num_experts')
        ],
        (layers.SoftMoE, 'slots_per_expert'),
        (layers.FixedRoutingMoE, 'slots_per_expert'),
        *[
            (cls, name)
            for cls in SPARSE
            for name in ('group_size', 'capacity_multiple')
        ],
        (layers.TokensChoiceMoE, 'num_selected_experts'),
        (layers.ExpertMlps, 'num_experts'),
        (layers.MoEFeedForward, 'hidden_dims'),
        (attention.SelfAttention, 'num_heads'),
        (layers.VisionTransformer, 'patch_size'),
        (layers.VisionTransformer, 'num_layers'),
    ],
)
def test_sizes_are_whole_numbers(cls, name, value, told):
  message = refusal(make(cls, **{name: value}), jnp.zeros([B, N, D]))
  assert message == f'{cls.__name__}: {name} is {told}'


@pytest.mark.parametrize('cls', [*ROUTERS, layers.ExpertMlps])
@pytest.mark.parametrize('value', [1.0, 1.5, -0.1, np.nan, None, '0', True])
def test_dropout_of_all_or_less_than_nothing(cls, value):
  message = refusal(make(cls, dropout_prob=value), jnp.zeros([B, N, D]))
  told = f'dropout_prob is {value!r}; set it to 0 or more and less than 1'
  assert message == f'{cls.__name__}: {told}'


@pytest.mark.parametrize(
    'name',
    ['relu_dropout_prob', 'residual_dropout_prob', 'residual_droppath_prob'],
)
@pytest.mark.parametrize('value', [1.0, -0.5, np.inf])
def test_dropout_of_the_feed_forward_layer(name, value):
  layer = make(layers.MoEFeedForward, **{name: value})
  told = f'{name} is {value!r}; set it to 0 or more and less than 1'
  assert refusal(layer, jnp.zeros([B, N, D])) == f'MoEFeedForward: {told}'


@pytest.mark.parametrize('cls', LEARNED)
@pytest.mark.parametrize('value', [-1, -1e-9, np.nan, np.inf, None, 'no'])
def test_noise(cls, value):
  message = refusal(make(cls, noise_stddev=value), jnp.zeros([B, N, D]))
  told = f'noise_stddev is {value!r}; set it to 0 or more, a finite number'
  assert message == f'{cls.__name__}: {told}'


ALL = (
    *ROUTERS,
    layers.ExpertMlps,
    layers.MoEFeedForward,
    layers.VisionTransformer,
    attention.SelfAttention,
)


@pytest.mark.parametrize('cls', ALL)
@pytest.mark.parametrize(
    'name, value, shown',
    [
        ('fprop_dtype', 'foo', "'foo'"),
        ('fprop_dtype', np.int8, 'int8'),
        ('dtype', np.int8, 'int8'),
    ],
)
def test_dtypes_of_all_layers(cls, name, value, shown):
  message = refusal(make(cls, **{name: value}), jnp.zeros([B, N, D]))
  told = 'use one of bfloat16, float16, float32, float64'
  assert message == f'{cls.__name__}: {name} is {shown}; {told}'


@pytest.mark.parametrize(
    'cls, name',
    [(cls, 'fprop_dtype') for cls in ALL]
    + [(cls, 'router_dtype') for cls in LEARNED],
)
def test_float64_where_jax_would_make_float32_of_it(cls, name):
  assert not jax.config.jax_enable_x64
  message = refusal(make(cls, **{name: jnp.float64}), jnp.zeros([B, N, D]))
  assert message == (
      f'{cls.__name__}: {name} is float64; JAX has it only after'
      ' jax.config.update("jax_enable_x64", True)'
  )


@pytest.mark.parametrize(
    'cls, name',
    [
        (layers.SoftMoE, 'activation_tpl'),
        (layers.MoEFeedForward, 'moe_tpl'),
        (layers.MoEFeedForward, 'ln_tpl'),
        (layers.VisionTransformer, 'block_tpl'),
        (layers.VisionTransformer, 'patch_tpl'),
    ],
)
@pytest.mark.parametrize(
    'value', [None, 3, 'gelu', layers.SoftMoE, pax_fiddle.Config(dict)]
)
def test_templates_of_other_layers(cls, name, value):
  message = refusal(make(cls, **{name: value}), jnp.zeros([B, N, D]))
  assert message.startswith(f'{cls.__name__}: {name} is ')
  assert message.endswith(
      '; set it to a template, pax_fiddle.Config of a layer'
  )


@pytest.mark.parametrize('cls', LEARNED)
@pytest.mark.parametrize(
    'value, shown',
    [
        (jnp.int32, 'int32'),
        (np.dtype(bool), 'bool'),
        (jnp.complex64, 'complex64'),
        (jnp.float8_e4m3fn, 'float8_e4m3fn'),
        (None, 'None'),
        ('nothing', "'nothing'"),
    ],
)
def test_router_dtype(cls, value, shown):
  message = refusal(make(cls, router_dtype=value), jnp.zeros([B, N, D]))
  told = 'use one of bfloat16, float16, float32, float64'
  assert message == f'{cls.__name__}: router_dtype is {shown}; {told}'


@pytest.mark.parametrize('cls', SPARSE)
@pytest.mark.parametrize('value', [np.nan, np.inf, 0, -1.0, None, '1', True])
def test_capacity_factor(cls, value):
  message = refusal(make(cls, capacity_factor=value), jnp.zeros([B, N, D]))
  told = f'capacity_factor is {value!r}; set it above 0, a finite number'
  assert message == f'{cls.__name__}: {told}'


@pytest.mark.parametrize(
    'cls, fields, told',
    [
        (layers.SoftMoE, {'normalize': 'no'}, "normalize is 'no'; set it to T"),
        (layers.SoftMoE, {'dispatch': 3}, 'dispatch is 3; use one of soft, un'),
        (
            layers.SoftMoE,
            {'identical_expert_init': 1},
            'identical_expert_init is 1; set it to True or False',
        ),
        (
            layers.TokensChoiceMoE,
            {'batch_prioritized': None},
            'batch_prioritized is None; set it to True or False',
        ),
        (
            layers.TokensChoiceMoE,
            {'load_loss_weight': -0.1},
            'load_loss_weight is -0.1; set it to 0 or more, a finite number',
        ),
        (
            layers.TokensChoiceMoE,
            {'group_size': 3},
            '2 sequences cannot be cut into groups of 3; make the batch a',
        ),
        (attention.SelfAttention, {'qk_norm': 0}, 'qk_norm is 0; set it to Tr'),
        (
            layers.MoEFeedForward,
            {'num_experts': -1},
            'num_experts is -1; set it to 0 or more, a whole number',
        ),
    ],
)
def test_other_fields(cls, fields, told):
  message = refusal(make(cls, **fields), jnp.zeros([B, N, D]))
  assert message.startswith(f'{cls.__name__}: {told}')


@pytest.mark.parametrize(
    'cls', [*ROUTERS, layers.MoEFeedForward, attention.SelfAttention]
)
@pytest.mark.parametrize(
    'shape, dtype',
    [
        ([B, 0, D], 'float32'),
        ([0, N, D], 'float32'),
        ([B, N, D + 1], 'float32'),
        ([B, N, 1], 'float32'),
        ([N, D], 'float32'),
        ([1, B, N, D], 'float32'),
        ([B, N, D], 'int32'),
        ([B, N, D], 'bool'),
        ([B, N, D], 'complex64'),
    ],
)
def test_inputs(cls, shape, dtype):
  message = refusal(make(cls), jnp.zeros(shape, dtype))
  assert message == (
      f'{cls.__name__}: inputs are {dtype} {shape}; they must be floating'
      ' [B, N, 4] with B and N 1 or more'
  )


@pytest.mark.parametrize('shape', [[B, 2, 2, 1], [B, 4, 4, 3], [B, 4, 4]])
def test_images(shape):
  message = refusal(make(layers.VisionTransformer), jnp.zeros(shape))
  assert message == (
      f'VisionTransformer: images are float32 {shape}; they must be'
      ' [B, 4, 4, 1] with B 1 or more'
  )


def test_slots_of_other_experts():
  message = refusal(make(layers.ExpertMlps), jnp.zeros([1, B, N, D]))
  assert message == (
      'ExpertMlps: slots are float32 [1, 2, 8, 4]; they must be floating'
      ' [4, B, P, 4] with B and P 1 or more'
  )


FLOATS = ('bfloat16', 'float16', 'float32', 'float64')


@pytest.mark.parametrize('cls', [*ROUTERS, layers.MoEFeedForward])
@pytest.mark.parametrize('fprop_dtype', FLOATS)
def test_the_result_has_the_dtype_of_the_inputs(cls, fprop_dtype):
  """Whatever it is computed in: of what that can resolve."""
  draws = np.random.default_rng(0).normal(size=[B, N, D])
  bits = {'bfloat16': 8, 'float16': 11, 'float32': 24, 'float64': 53}
  with versions.enable_x64():
    exact = make(cls, fprop_dtype=jnp.float64)
    variables = layer_testing.init(exact, jnp.asarray(draws))
    layer = make(cls, fprop_dtype=jnp.dtype(fprop_dtype))
    run, run_exact = (
        jax.jit(
            lambda x, one=one: layer_testing.apply(
                one, variables, x, do_eval=True
            )
        )
        for one in (layer, exact)
    )
    for dtype in FLOATS:
      # Of the same tokens, as far as the inputs resolve them; those that are
      # matched with experts are kept by exact gates only.
      x = jnp.asarray(draws, dtype)
      y = run(x)
      assert y.dtype == jnp.dtype(dtype) and y.shape == x.shape
      if cls in SPARSE:
        assert np.isfinite(np.asarray(y, np.float64)).all() and np.any(y)
        continue
      want = np.asarray(run_exact(jnp.asarray(x, float)))
      error = np.linalg.norm(np.asarray(y, np.float64) - want)
      lost = 2.0 ** -min(bits[fprop_dtype], bits[dtype])
      assert error < 8 * lost * np.linalg.norm(want)

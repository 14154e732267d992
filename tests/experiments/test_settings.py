"""Declarations of settings, and what is said of values that they refuse."""

from collections.abc import Mapping
from collections.abc import Sequence
import decimal
import fractions
import math
from typing import Annotated
from typing import ClassVar
from typing import Literal

from jax import numpy as jnp
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.experiments import recipes
from pax_softmoe.experiments import routers
from pax_softmoe.experiments import settings
from pax_softmoe.experiments import sizes
import pytest

Demo = experiments.SoftMoEFashionMnist

MESH = 'a size of 1 or more for each of replica, data, expert, mdl, or None'
FROM_1 = 'a whole number of 1 or more'
FROM_0 = 'a whole number of 0 or more'
NUMBER = 'a number of 0 or more'
BOOL = 'True or False'
DTYPE = 'float32 or bfloat16'


@pytest.fixture(autouse=True)
def _files(monkeypatch):
  # They are whole, which takes a second to see.
  monkeypatch.setattr(
      fashion_mnist_images.EmbeddedFashionMnist, 'check', lambda self: None
  )


@pytest.mark.parametrize(
    'name, value, shown, takes',
    [
        ('NUM_EXPERTS', '4', "'4' (str)", FROM_1),
        ('NUM_EXPERTS', 4.0, '4.0 (float)', FROM_1),
        ('NUM_EXPERTS', None, 'None', FROM_1),
        ('NUM_EXPERTS', math.nan, 'nan (float)', FROM_1),
        ('NUM_EXPERTS', True, 'True (bool)', FROM_1),
        ('NUM_EXPERTS', 0, '0 (int)', FROM_1),
        (
            'NUM_EXPERTS',
            2**64,
            f'{2**64} (int)',
            f'{FROM_1}, at most 1,048,576',
        ),
        ('SLOTS_PER_EXPERT', 1.5, '1.5 (float)', FROM_1),
        ('ICI_MESH_SHAPE', 8, '8 (int)', MESH),
        ('ICI_MESH_SHAPE', (1, 2, 4), '(1, 2, 4) (tuple)', MESH),
        ('ICI_MESH_SHAPE', (1, 1, 1, None), '(1, 1, 1, None) (tuple)', MESH),
        ('ICI_MESH_SHAPE', (1.0, 2, 4, 1), '(1.0, 2, 4, 1) (tuple)', MESH),
        ('ICI_MESH_SHAPE', (1, 2, -4, 1), '(1, 2, -4, 1) (tuple)', MESH),
        ('DCN_MESH_SHAPE', 2, '2 (int)', MESH),
        ('DCN_MESH_SHAPE', [], '[] (list)', MESH),
        ('DCN_MESH_SHAPE', '4', "'4' (str)", MESH),
        (
            'MOE_LAYERS',
            (1, 1),
            '(1, 1) (tuple)',
            'a list of whole numbers of 0 or more, each once, or None',
        ),
        (
            'MOE_LAYERS',
            3,
            '3 (int)',
            'a list of whole numbers of 0 or more, each once, or None',
        ),
        ('SLICE', 1, '1 (int)', 'a text, or None'),
        (
            'EVAL_SPLITS',
            math.inf,
            'inf (float)',
            'a list of texts, at least one',
        ),
        ('EVAL_SPLITS', (), '() (tuple)', 'a list of texts, at least one'),
        (
            'EVAL_SPLITS',
            ('test', 'test'),
            "('test', 'test') (tuple)",
            'a list of texts, at least one, each once',
        ),
        (
            'FEWSHOT_SHOTS',
            [1, 5, 1],
            '[1, 5, 1] (list)',
            'a list of whole numbers of 1 or more, at least one, each once',
        ),
        (
            'EVAL_SPLITS',
            'test',
            "'test' (str)",
            'a list of texts, at least one',
        ),
        ('SKIP_STEP_GRADIENT_NORM', None, 'None', NUMBER),
        ('ACCUMULATE_STEPS', '', "'' (str)", FROM_1),
        ('ROUTER_SCALE_DECAY', [], '[] (list)', NUMBER),
        ('TIMESCALE', [None], '[None] (list)', FROM_1),
        ('TIMESCALE', 0, '0 (int)', FROM_1),
        ('WARMUP_STEPS', math.nan, 'nan (float)', FROM_0),
        ('COMPUTE_DTYPE', 'float8', "'float8' (str)", DTYPE),
        ('COMPUTE_DTYPE', None, 'None', DTYPE),
        ('COMPUTE_DTYPE', float, "<class 'float'> (type)", DTYPE),
        ('COMPUTE_DTYPE', 'float16', "'float16' (str)", DTYPE),
        ('FIRST_MOMENT_DTYPE', 'foo', "'foo' (str)", f'{DTYPE}, or None'),
        ('NOISE_STDDEV', 10**12, '1000000000000 (int)', f'{NUMBER}, at most'),
        ('NOISE_STDDEV', None, 'None', NUMBER),
        ('IMAGE_SIZE', 0, '0 (int)', FROM_1),
        ('SCAN_LAYERS', [None], '[None] (list)', BOOL),
        ('QK_NORM', {}, '{} (dict)', BOOL),
        ('QK_NORM', 1, '1 (int)', BOOL),
        ('MIXUP', math.nan, 'nan (float)', NUMBER),
        ('MIXUP', -1, '-1 (int)', NUMBER),
        ('SAVE_INTERVAL_STEPS', '4', "'4' (str)", FROM_1),
        ('SAVE_INTERVAL_STEPS', 0, '0 (int)', FROM_1),
        ('COOLDOWN_STEPS', True, 'True (bool)', FROM_0),
        ('COOLDOWN_STEPS', -1, '-1 (int)', FROM_0),
        ('KERNEL_DECAY', True, 'True (bool)', NUMBER),
        ('CLIP_GRADIENT_NORM', [], '[] (list)', NUMBER),
        ('CLIP_GRADIENT_NORM', -1, '-1 (int)', NUMBER),
        ('NORMALIZE', -1, '-1 (int)', BOOL),
        ('INIT_HEAD', 'abc', "'abc' (str)", BOOL),
        (
            'FEWSHOT_SHOTS',
            math.nan,
            'nan (float)',
            'a list of whole numbers of 1 or more, at least one',
        ),
        ('SEED', 'abc', "'abc' (str)", FROM_0),
        ('SEED', 2**32, '4294967296 (int)', f'{FROM_0}, at most 4,294,967,295'),
        ('LEARNING_RATE', -1, '-1 (int)', 'a number above 0'),
        ('LEARNING_RATE', 'abc', "'abc' (str)", 'a number above 0'),
        ('CHANNELS', 2, '2 (int)', 'one of 1, 3'),
        ('LOSS', 'ce', "'ce' (str)", 'one of softmax, sigmoid'),
        ('DISPATCH', 'hard', "'hard' (str)", 'one of soft, uniform'),
        ('REMAT', 'some', "'some' (str)", 'one of full, exchange'),
        ('SAVE_MAX_TO_KEEP', 0, '0 (int)', FROM_1),
        ('EMA_DECAY', 1, '1 (int)', f'{NUMBER} and below 1'),
        (
            'SHARDING_OVERRIDES',
            {'dense_weights.d': 1},
            "{'dense_weights.d': 1} (dict)",
            'a mapping from texts to texts or a list of texts, or None',
        ),
    ],
)
def test_a_value_that_a_setting_does_not_take(name, value, shown, takes):
  with pytest.raises(ValueError) as error:
    Demo.with_settings(**{name: value})
  want = f'SoftMoEFashionMnist: {name} is {shown}; it takes {takes}'
  assert str(error.value).startswith(want)
  assert len(str(error.value).splitlines()) == 1
  # A class of a user's with the same.
  user = type('Mine', (Demo,), {} if name == 'SLICE' else {name: value})
  if name != 'SLICE':
    with pytest.raises(ValueError, match=f'^Mine: {name} is'):
      user().validate()


@pytest.mark.parametrize(
    'of, name, value',
    [
        ('TokensChoiceFashionMnist', 'GSHARD_LOSS_WEIGHT', 'abc'),
        ('TokensChoiceFashionMnist', 'CAPACITY_FACTOR', math.nan),
        ('TokensChoiceFashionMnist', 'CAPACITY_FACTOR', 0),
        ('TokensChoiceFashionMnist', 'BATCH_PRIORITIZED', math.inf),
        ('ExpertsChoiceFashionMnist', 'GROUP_SIZE', 0),
        ('IdentityFashionMnist', 'ROUTING', 'soft'),
        ('SoftMoEFashionMnistFinetune', 'FINAL_LEARNING_RATE', -1),
        ('SoftMoEB16Laion', 'INCEPTION_CROP', 0),
        ('SoftMoES16', 'DATA_DIR', {}),
        ('SoftMoES16', 'DATA_DIR', {'a': 0}),
        ('SoftMoES16', 'DATA_DIR', {'a': math.inf}),
        ('SoftMoES16', 'DATA_DIR', {1: 1}),
        ('SoftMoES16', 'DATA_DIR', {'': 1}),
    ],
)
def test_a_value_that_other_experiments_do_not_take(of, name, value):
  with pytest.raises(ValueError, match=f'^{of}: {name} is .*; it takes'):
    getattr(experiments, of).with_settings(**{name: value})


@pytest.mark.parametrize(
    'settings_, attribute, want',
    [
        # Whole numbers may stand for others, lists for tuples, names for types.
        (dict(LEARNING_RATE=1), 'LEARNING_RATE', 1),
        (dict(ICI_MESH_SHAPE=[1, 1, 1, 1]), 'ICI_MESH_SHAPE', [1, 1, 1, 1]),
        (dict(MOE_LAYERS=range(2)), 'MOE_LAYERS', range(2)),
        (dict(SEED=2**32 - 1), 'SEED', 2**32 - 1),
        (dict(FEWSHOT_DATA='fashion_mnist'), 'FEWSHOT_DATA', 'fashion_mnist'),
        (dict(CLIP_GRADIENT_NORM=0), 'CLIP_GRADIENT_NORM', 0),
    ],
)
def test_what_settings_take(settings_, attribute, want):
  experiment = Demo.with_settings(**settings_)()
  experiment.validate()
  assert getattr(experiment, attribute) == want
  experiment.task()


@pytest.mark.parametrize(
    'given', ['bfloat16', jnp.bfloat16, jnp.dtype(jnp.bfloat16)]
)
def test_a_dtype_by_name_or_type_is_computed_in(given):
  changes = dict(COMPUTE_DTYPE=given, FIRST_MOMENT_DTYPE=given)
  task = Demo.as_config(**changes).task
  assert jnp.dtype(task.model.fprop_dtype) == jnp.bfloat16
  assert task.train.learner.optimizer.first_moment_dtype == jnp.bfloat16


@pytest.mark.parametrize(
    'name',
    ['num_experts', 'task', 'validate', '__class__', 'cls', 'self', '_X'],
)
def test_only_declared_capitals_can_be_set(name):
  for change in (Demo.with_settings, Demo.as_config):
    with pytest.raises(ValueError, match=f'there is no setting {name}; the'):
      change(**{name: 4})


@pytest.mark.parametrize(
    'name, near', [('NUM_EXPERT', 'NUM_EXPERTS'), ('remat', 'REMAT')]
)
def test_a_misspelt_setting_is_told_the_nearest(name, near):
  with pytest.raises(ValueError, match=f'; did you mean {near}.$'):
    Demo.with_settings(**{name: 4})


def test_nothing_is_near_a_name_out_of_the_blue():
  with pytest.raises(ValueError, match='there is no setting XYZZY;') as error:
    Demo.with_settings(XYZZY=1)
  assert 'did you mean' not in str(error.value)


def test_a_class_with_a_slice_that_is_no_text():
  with pytest.raises(ValueError, match='^Mine: SLICE is 1 .int.; it takes'):
    type('Mine', (Demo,), {'SLICE': 1})


@pytest.mark.parametrize(
    'of, changes, message',
    [
        (
            Demo,
            dict(SHARDING_OVERRIDES={'x': None}),
            "SHARDING_OVERRIDES: sharding override 'x': expected",
        ),
        (Demo, dict(SLICE='v4-7'), "SLICE: no TPU slice 'v4-7'; use one of"),
        (Demo, dict(INIT_FROM='/none'), 'INIT_FROM: there is no /none; give'),
        (
            Demo,
            dict(FEWSHOT_DATA='none'),
            (
                'FEWSHOT_DATA and FEWSHOT_SHOTS: few-shot data none: none has'
                ' no split'
            ),
        ),
        (
            Demo,
            dict(FEWSHOT_DATA='fashion_mnist', FEWSHOT_SHOTS=(2000,)),
            'FEWSHOT_DATA and FEWSHOT_SHOTS: .* too few for 2000 shots',
        ),
        (
            experiments.TokensChoiceFashionMnist,
            dict(NUM_SELECTED_EXPERTS=17),
            'NUM_SELECTED_EXPERTS is 17 and NUM_EXPERTS 16; the first must not',
        ),
        (
            experiments.SoftMoEFashionMnistFinetune,
            dict(LEARNING_RATE=1e-320),
            (
                'the learning rate of step .* would be nan; change'
                ' LEARNING_RATE or'
            ),
        ),
    ],
)
def test_settings_that_do_not_fit_name_the_experiment(of, changes, message):
  with pytest.raises(ValueError, match=f'^{of.__name__}: {message}'):
    of.with_settings(**changes)().validate()


def test_paths_are_not_looked_for_to_describe():
  Demo.with_settings(INIT_FROM='/none', FEWSHOT_DATA='none')().check_settings()
  experiments.SoftMoES16.with_settings(DATA_DIR='/none')().check_settings()


# What somebody might write by mistake.
NASTY = (
    *('4', 4.0, None, math.nan, math.inf, -math.inf, True, False, [], {}, ()),
    *('', 'abc', 'a\nb', -1, 0, 1, 2, 3, 7, 10**12, 2**31 - 1, 2**31, 2**64),
    *(10**5000, 0.5, 1e-320, 1e300, [None], (1, 1, 1, 1), (1, 2, -4, 1)),
    *({'a': math.nan}, {1: 1}, ('a',), b'a', 1j, object, object(), range(3)),
)
SYSTEMS = (
    'SoftMoEFashionMnist',
    'TokensChoiceFashionMnist',
    'IdentityFashionMnist',
    'SoftMoEFashionMnistFinetune',
    'SoftMoES32ImageNet21k',
    'SoftMoEB16Laion',
)


def every_setting():
  """Yields all declared settings, each with one experiment that has it."""
  seen = set()
  for system in SYSTEMS:
    cls = getattr(experiments, system)
    for declaration in settings.declared(cls).values():
      key = declaration.owner, declaration.name
      if key not in seen:
        seen.add(key)
        yield cls, declaration.name


@pytest.mark.parametrize(
    'cls, name', every_setting(), ids=lambda x: getattr(x, '__name__', x)
)
def test_a_nasty_value_is_refused_by_name_or_works(cls, name):
  refused = 0
  for value in NASTY:
    try:
      experiment = cls.with_settings(**{name: value})()
      experiment.validate()
    except ValueError as error:
      refused += 1
      (line,) = str(error).splitlines()
      assert line.startswith(f'{cls.__name__}: '), line
      assert name in line, line
      assert len(line) < 500, line
      continue
    task = experiment.task()
    experiment.datasets()
    optimizer = task.train.learner.optimizer
    schedule = optimizer.lr_schedule.Instantiate()
    steps = experiment.NUM_TRAIN_STEPS
    for step in (0, 1, steps // 2, steps):
      rate = optimizer.learning_rate * schedule.value_at(step)
      assert math.isfinite(rate) and rate >= 0, (value, step)
  assert refused >= len(NASTY) / 2


def test_every_setting_says_what_it_means():
  for cls in {getattr(experiments, s) for s in SYSTEMS}:
    for name, declaration in settings.declared(cls).items():
      assert declaration.meaning.endswith('.'), name
      assert declaration.owner.__doc__, name
      assert '<' not in declaration.takes, name


class Written:
  """Declarations as users write them."""

  TEMPERATURE: float = 1.0
  TIMES: ClassVar[int] = 2
  LATE: 'Sequence[settings.Count] | None' = None
  KIND: Annotated[Literal['a', 'b'], settings.Kept, 'Which.'] = 'a'
  OLD: jnp.dtype = jnp.float32
  RATES: Mapping[str, float] = {}
  _OWN: int = 'not a setting'
  lower: int = 'not a setting'

  @property
  def TIMES_TWO(self):
    return 2 * self.TIMES


def test_declarations_of_a_user():
  found = settings.declared(Written)
  assert {n: d.takes for n, d in found.items()} == {
      'TEMPERATURE': 'a number',
      'TIMES': 'a whole number',
      'LATE': 'a list of whole numbers of 1 or more, or None',
      'KIND': 'one of a, b',
      'OLD': 'float32 or bfloat16',
      'RATES': 'a mapping from texts to numbers',
  }
  assert [n for n, d in found.items() if d.kept] == ['KIND']
  assert found['KIND'].meaning == 'Which.'
  settings.check(Written, found)
  for name, value in (
      ('TEMPERATURE', math.nan),
      ('TIMES', 2.0),
      ('LATE', (0,)),
      ('OLD', 'int8'),
      ('RATES', {'a': math.inf}),
  ):
    with pytest.raises(ValueError, match=f'^Mine: {name} is'):
      settings.check(type('Mine', (Written,), {name: value}), found)


def test_a_setting_that_is_computed_is_checked_in_the_instance():
  class Computed(Demo):

    @property
    def NUM_TRAIN_STEPS(self):
      return self.WARMUP_STEPS * 30.0

  settings.check(Computed)
  with pytest.raises(ValueError, match='^Computed: NUM_TRAIN_STEPS is 3000.0'):
    Computed().validate()


def test_a_value_that_an_instance_has_is_checked():
  experiment = Demo()
  experiment.NUM_EXPERTS = '4'
  with pytest.raises(ValueError, match="NUM_EXPERTS is '4'"):
    experiment.validate()


def test_a_declaration_that_cannot_be_understood():
  class Broken(Demo):
    MINE: 'Missing' = 1  # noqa: F821

  message = '^Broken: the declaration of MINE cannot be understood .name'
  with pytest.raises(ValueError, match=message):
    Broken().validate()


def test_a_setting_without_a_value():
  class Bare(Demo):
    MINE: int

  with pytest.raises(ValueError, match='^Bare: MINE has no value; it takes a'):
    Bare().validate()


def test_an_experiment_without_a_size_says_which_setting_is_missing():
  sizeless = type('Mine', (routers.Dense, recipes.Jft), {})
  with pytest.raises(ValueError, match='^Mine: MODEL_DIMS is 0 .int.; it'):
    sizeless().validate()
  type('Mine', (sizes.S, routers.Dense, recipes.Jft), {})().validate()


@pytest.mark.parametrize(
    'old, new, want',
    [
        ({}, {}, []),
        # As a record in JSON has them.
        ({'MOE_LAYERS': [1, 3]}, {'MOE_LAYERS': (1, 3)}, []),
        (
            {'FIRST_MOMENT_DTYPE': 'bfloat16'},
            {'FIRST_MOMENT_DTYPE': jnp.bfloat16},
            [],
        ),
        # The same as is the default.
        ({'NUM_EXPERTS': 16}, {}, []),
        (
            {'NUM_EXPERTS': 4},
            {'NORMALIZE': False},
            [('NORMALIZE', True, False), ('NUM_EXPERTS', 4, 16)],
        ),
        ({'EMA_DECAY': 0.9}, {}, [('EMA_DECAY', 0.9, 0.0)]),
        ({}, {'ACCUMULATE_STEPS': 2}, [('ACCUMULATE_STEPS', 1, 2)]),
        ({}, {'SCAN_LAYERS': False}, [('SCAN_LAYERS', True, False)]),
        ({}, {'MOE_LAYERS': (3,)}, [('MOE_LAYERS', None, (3,))]),
        # Of a job that an older version ran.
        ({'GONE': 1, 'COOLDOWN_STEPS': True}, {}, []),
        (
            {},
            dict(
                LEARNING_RATE=1,
                NUM_TRAIN_STEPS=10,
                SAVE_INTERVAL_STEPS=7,
                TRAIN_BATCH_SIZE=8,
                SHARDING='replicated',
                REMAT='full',
                SEED=3,
                COMPUTE_DTYPE='bfloat16',
                INIT_FROM='/x',
            ),
            [],
        ),
    ],
)
def test_which_changes_make_another_model(old, new, want):
  assert settings.changed_model(Demo, old, new) == want


def test_plain_is_what_json_gives_back():
  value = {'a': (1, [2]), 'b': jnp.float32, 'c': np.dtype('float32'), 'd': 'x'}
  want = {'a': [1, [2]], 'b': 'float32', 'c': 'float32', 'd': 'x'}
  assert settings.plain(value) == want


@pytest.mark.parametrize(
    'value',
    [
        fractions.Fraction(1, 2),
        decimal.Decimal('0.1'),
        np.array(0.5),
        np.float32(0.5),
        jnp.ones([]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_are_those_of_python(value):
  with pytest.raises(ValueError, match=r'LEARNING_RATE is .*; it takes a numb'):
    experiments.SoftMoEFashionMnist.with_settings(LEARNING_RATE=value)
  with pytest.raises(ValueError, match=r'DATA_DIR is .*; it takes '):
    experiments.SoftMoEFashionMnist.with_settings(DATA_DIR={'/data': value})


@pytest.mark.parametrize(
    'name, changes, message',
    [
        ('SoftMoE', dict(EMA_DECAY=1 - 1e-9), 'EMA_DECAY is 0.999999999 '),
        ('SoftMoE', dict(MOE_LAYERS=range(10**9)), 'MOE_LAYERS is range'),
        (
            'SoftMoE',
            dict(ICI_MESH_SHAPE=(2**30,) * 4),
            'has more than 1,048,576 devices; set ICI_MESH_SHAPE',
        ),
        (
            'SoftMoE',
            dict(ACCUMULATE_STEPS=1_001),
            'over 1001 steps, and there are 1000; lower ACCUMULATE_STEPS',
        ),
        ('SoftMoE', dict(LEARNING_RATE=1e-44), 'nothing in float32; raise LEA'),
        (
            'SoftMoE',
            dict(DISPATCH='uniform', COMBINE='uniform'),
            'experts: SoftMoE: DISPATCH and COMBINE are both uniform',
        ),
        ('Identity', dict(NUM_EXPERTS=8), '16 tokens cannot fill 8 experts'),
        (
            'SoftMoE',
            dict(QK_NORM=np.True_),
            r'np.True_ \(numpy.bool_?\); it ta',
        ),
    ],
)
def test_what_can_never_work_is_refused(name, changes, message):
  cls = getattr(experiments, f'{name}FashionMnist')
  with pytest.raises(ValueError, match=message) as refused:
    cls.with_settings(**changes)().check_settings()
  assert str(refused.value).startswith(f'{name}FashionMnist: ')
  assert '\n' not in str(refused.value)


def test_a_value_in_the_place_of_a_method():
  class Mine(experiments.SoftMoEFashionMnist):
    num_experts = 4

  with pytest.raises(ValueError, match=r'^Mine: num_experts is 4 \(int\), in'):
    Mine().check_settings()


@pytest.mark.parametrize('name', ['DATA_DIR', 'INIT_FROM', 'FEWSHOT_DATA'])
def test_a_scheme_that_nobody_knows(name):
  value = ('foo://x',) if name == 'FEWSHOT_DATA' else 'foo://x'
  with pytest.raises(ValueError, match=f'^SoftMoEFash.*: {name}.* no such sch'):
    experiments.SoftMoEFashionMnist.as_config(**{name: value})

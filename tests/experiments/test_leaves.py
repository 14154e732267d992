"""Every registered experiment against its paper, in figures written by hand.

Sources: the Soft MoE paper (arXiv 2308.00951v2), section 3 for models, tables 8
and 9 for runs, appendix F for training; V-MoE's public configurations for
ImageNet-21k and fine-tuning. Asserted is what Pax gets, not what a class says.
"""

import math

import golden_data
import numpy as np
from pax_softmoe.tools import jobs
from pax_softmoe.training import optimizers
from praxis import optimizers as praxis_optimizers
import pytest

# Width, hidden width, heads, blocks, and the blocks with experts.
S = (384, 1536, 6, 12, tuple(range(6, 12)))
B = (768, 3072, 12, 12, tuple(range(6, 12)))
L = (1024, 4096, 16, 24, tuple(range(12, 24)))
H = (1280, 5120, 16, 32, tuple(range(16, 32)))
TINY = (128, 256, 4, 4, (2, 3))


def soft(experts, scale_decay=0.03, **fields):
  fields = {'dispatch': 'soft', 'combine': 'soft', **fields}
  return dict(
      router='SoftMoE',
      num_experts=experts,
      slots_per_expert=1,
      normalize=True,
      noise_stddev=0.0,
      scale_decay=scale_decay,
      identical_expert_init=fields['dispatch'] == 'soft',
      **fields,
  )


def tokens_choice(experts=32, selected=1, capacity=1.0, prioritized=True):
  return dict(
      router='TokensChoiceMoE',
      num_experts=experts,
      num_selected_experts=selected,
      capacity_factor=capacity,
      batch_prioritized=prioritized,
      group_size=8,
      noise_stddev=1.0,
      importance_loss_weight=0.005,
      load_loss_weight=0.005,
      gshard_loss_weight=0.0,
      identical_expert_init=True,
  )


def experts_choice(experts=32, group=8, capacity=1.0):
  return dict(
      router='ExpertsChoiceMoE',
      num_experts=experts,
      capacity_factor=capacity,
      group_size=group,
      noise_stddev=1.0,
      identical_expert_init=True,
  )


def fixed(routing):
  return dict(
      router='FixedRoutingMoE',
      num_experts=16,
      slots_per_expert=1,
      routing=routing,
      identical_expert_init=False,
  )


DENSE = dict(router=None)

JFT = dict(
    steps=4_000_000,
    batch=4_096,
    rate=1e-3,
    schedule='rsqrt',
    warmup=10_000,
    cooldown=50_000,
    timescale=10_000,
    recorded='jft',
    clip=1.0,
    head_decay=3.0,
    kernel_decay=0.03,
    loss='sigmoid',
    classes=29_593,
    pixels=224,
    ops=['InceptionCrop', 'FlipLeftRight', 'ValueRange'],
    eval_ops=['ResizeSmall', 'CenterCrop', 'ValueRange'],
)
SHORT = JFT | dict(steps=300_000, recorded='short')
HUGE = JFT | dict(steps=2_000_000, recorded=None)


def imagenet21k(rate):
  return JFT | dict(
      # 300 epochs of 14,094,722 images.
      steps=1_032_328,
      rate=rate,
      schedule='linear',
      final=1e-5,
      recorded=None,
      head_decay=0.1,
      kernel_decay=0.1,
      classes=21_843,
      mixup=0.5,
      ops=['InceptionCrop', 'FlipLeftRight', 'RandAugment', 'ValueRange'],
  )


LAION = JFT | dict(
    steps=750_000,
    batch=16_384,
    warmup=20_000,
    cooldown=20_000,
    recorded='laion',
    head_decay=0.1,
    kernel_decay=0.1,
    classes=1_000,
    pixels=256,
    ops=['InceptionCrop', 'ValueRange'],
    eval_ops=['Resize', 'ValueRange'],
)
LAION_RESIZED = LAION | dict(ops=['Resize', 'ValueRange'])

IMAGENET = dict(
    steps=10_000,
    batch=1_024,
    rate=3e-3,
    schedule='cosine',
    final=1e-5,
    warmup=500,
    clip=10.0,
    loss='softmax',
    classes=1_000,
    pixels=384,
    ops=['InceptionCrop', 'FlipLeftRight', 'ValueRange'],
    eval_ops=['Resize', 'ValueRange'],
)

FASHION = dict(
    steps=1_000,
    batch=128,
    rate=4e-3,
    schedule='rsqrt',
    warmup=100,
    cooldown=900,
    timescale=1_000,
    clip=1.0,
    head_decay=0.5,
    kernel_decay=0.5,
    loss='softmax',
    classes=10,
    pixels=28,
    channels=1,
    ops=['FlipLeftRight', 'ValueRange'],
    eval_ops=['ValueRange'],
    compute='float32',
    mixup=0.3,
)
FASHION_FINETUNE = FASHION | dict(
    head_decay=0.03,
    kernel_decay=0.03,
    mixup=0.0,
    steps=300,
    batch=64,
    rate=3e-3,
    schedule='cosine',
    final=1e-5,
    warmup=15,
    clip=10.0,
    pixels=56,
    ops=['FlipLeftRight', 'Resize', 'ValueRange'],
    eval_ops=['Resize', 'ValueRange'],
)

# Size, patch, router, training.
LEAVES = {
    # Fine-tuning, section 3.1 and V-MoE.
    'SoftMoES16ImageNet': (S, 16, soft(128), IMAGENET),
    'SoftMoEB16ImageNet': (B, 16, soft(128), IMAGENET),
    'SoftMoEL16ImageNet': (L, 16, soft(128), IMAGENET),
    # 27 x 27 whole patches.
    'SoftMoEH14ImageNet': (H, 14, soft(128), IMAGENET | dict(pixels=378)),
    'ViTS16ImageNet': (S, 16, DENSE, IMAGENET),
    'SoftMoEFashionMnistFinetune': (TINY, 7, soft(16), FASHION_FINETUNE),
    # Tables 8 and 9.
    'SoftMoES32': (S, 32, soft(32), SHORT),
    'SoftMoES16': (S, 16, soft(128), JFT),
    'SoftMoES14': (S, 14, soft(256), JFT),
    'SoftMoES8': (S, 8, soft(512), SHORT),
    'SoftMoEB32': (B, 32, soft(32), SHORT),
    'SoftMoEB16': (B, 16, soft(128), JFT),
    'SoftMoEL32': (L, 32, soft(32), SHORT),
    'SoftMoEL16': (L, 16, soft(128), JFT),
    'SoftMoEH14': (H, 14, soft(128), HUGE),
    'SoftMoEH14E256': (H, 14, soft(256), HUGE),
    'ViTS32': (S, 32, DENSE, SHORT),
    'ViTS16': (S, 16, DENSE, JFT),
    'ViTS14': (S, 14, DENSE, SHORT),
    'ViTS8': (S, 8, DENSE, SHORT),
    'ViTB32': (B, 32, DENSE, SHORT),
    'ViTB16': (B, 16, DENSE, JFT),
    'ViTL32': (L, 32, DENSE, SHORT),
    'ViTL16': (L, 16, DENSE, JFT),
    'ViTH14': (H, 14, DENSE, HUGE),
    'TokensChoiceS32': (S, 32, tokens_choice(), SHORT),
    'TokensChoiceS16': (S, 16, tokens_choice(), SHORT),
    'TokensChoiceS14': (S, 14, tokens_choice(), SHORT),
    'TokensChoiceS8': (S, 8, tokens_choice(), SHORT),
    'TokensChoiceB32': (B, 32, tokens_choice(), SHORT),
    'TokensChoiceB16': (B, 16, tokens_choice(), SHORT),
    'TokensChoiceL32': (L, 32, tokens_choice(), SHORT),
    'TokensChoiceL16': (L, 16, tokens_choice(), SHORT),
    'TokensChoiceH14': (H, 14, tokens_choice(64, capacity=1.25), SHORT),
    'ExpertsChoiceS32': (S, 32, experts_choice(), SHORT),
    'ExpertsChoiceS16': (S, 16, experts_choice(), SHORT),
    'ExpertsChoiceS14': (S, 14, experts_choice(), SHORT),
    'ExpertsChoiceS8': (S, 8, experts_choice(), SHORT),
    'ExpertsChoiceB32': (B, 32, experts_choice(), SHORT),
    'ExpertsChoiceB16': (B, 16, experts_choice(), SHORT),
    'ExpertsChoiceL32': (L, 32, experts_choice(), SHORT),
    'ExpertsChoiceL16': (L, 16, experts_choice(group=1), SHORT),
    'ExpertsChoiceH14': (H, 14, experts_choice(64, capacity=1.25), SHORT),
    # V-MoE's ImageNet-21k: no kernel, so the router's scale does not decay.
    'SoftMoES32ImageNet21k': (S, 32, soft(32, 0.0), imagenet21k(1e-3)),
    'SoftMoEB16ImageNet21k': (B, 16, soft(128, 0.0), imagenet21k(8e-4)),
    'SoftMoEL16ImageNet21k': (L, 16, soft(128, 0.0), imagenet21k(4e-4)),
    'ViTB16ImageNet21k': (B, 16, DENSE, imagenet21k(8e-4)),
    'TokensChoiceB16ImageNet21k': (
        (*B[:4], (1, 3, 5, 7, 9, 11)),
        16,
        tokens_choice(8, 2, 1.05, prioritized=False),
        imagenet21k(8e-4),
    ),
    'ExpertsChoiceB16ImageNet21k': (
        B,
        16,
        experts_choice(128, group=1),
        imagenet21k(8e-4),
    ),
    # LAION-400M, appendix F.1: the scale is not decayed; crops are Soft MoE's.
    'SoftMoEB16Laion': (B, 16, soft(128, 0.0), LAION),
    'ExpertsChoiceB16Laion': (
        B,
        16,
        experts_choice(128, group=1),
        LAION_RESIZED,
    ),
    'ViTB16Laion': (B, 16, DENSE, LAION_RESIZED),
    # The demonstration, which no paper has.
    'SoftMoEFashionMnist': (TINY, 7, soft(16), FASHION),
    'ViTFashionMnist': (TINY, 7, DENSE, FASHION),
    'TokensChoiceFashionMnist': (TINY, 7, tokens_choice(16), FASHION),
    'ExpertsChoiceFashionMnist': (TINY, 7, experts_choice(16), FASHION),
    'IdentityFashionMnist': (TINY, 7, fixed('identity'), FASHION),
    'UniformFashionMnist': (TINY, 7, fixed('uniform'), FASHION),
    'SoftUniformFashionMnist': (TINY, 7, soft(16, combine='uniform'), FASHION),
    'UniformSoftFashionMnist': (
        TINY,
        7,
        soft(16, dispatch='uniform'),
        FASHION,
    ),
}
EACH = pytest.mark.parametrize('name', LEAVES)


def rate_at(want, t):
  """Returns the learning rate at step t, from the equations."""
  steps, warmup, peak = want['steps'], want['warmup'], want['rate']
  if t < warmup:
    return peak * t / warmup
  if want['schedule'] == 'rsqrt':
    start = steps - want['cooldown']
    decayed = 1 / math.sqrt(1 + (min(t, start) - warmup) / want['timescale'])
    return peak * decayed * min(1, (steps - t) / want['cooldown'])
  share = (t - warmup) / (steps - warmup)
  if want['schedule'] == 'cosine':
    share = (1 - math.cos(math.pi * share)) / 2
  return peak + (want['final'] - peak) * share


def built(name):
  return jobs.find_experiment(name)()


def test_every_registered_leaf_is_in_the_table():
  assert sorted(LEAVES) == sorted(jobs.registered())


@EACH
def test_model(name):
  size, patch, router, want = LEAVES[name]
  model = built(name).task().model
  vit = model.vit_tpl
  widths = (vit.model_dims, vit.hidden_dims, vit.num_heads, vit.num_layers)
  assert widths == size[:4]
  assert (vit.patch_size, vit.image_size) == (patch, want['pixels'])
  assert vit.channels == want.get('channels', 3)
  assert vit.block_tpl.attention_tpl.qk_norm
  assert (model.num_classes, model.loss) == (want['classes'], want['loss'])
  assert np.dtype(model.dtype) == np.float32
  assert model.fprop_dtype.__name__ == want.get('compute', 'bfloat16')
  if router['router'] is None:
    assert not vit.moe_layers
    return
  assert tuple(vit.moe_layers) == size[4]
  moe = vit.moe_tpl.moe_tpl
  assert moe.cls.__name__ == router['router']
  fields = {
      k: v for k, v in router.items() if k not in ('router', 'scale_decay')
  }
  assert {k: getattr(moe, k) for k in fields} == fields
  if router['router'] != 'FixedRoutingMoE':
    assert moe.router_dtype.__name__ == 'float32'


@EACH
def test_optimizer(name):
  _, _, router, want = LEAVES[name]
  tpl = built(name).task().train.learner.optimizer
  assert tpl.clip_gradient_norm_to_value == want['clip']
  if want['schedule'] == 'cosine':
    assert tpl.cls is praxis_optimizers.ShardedSgd
    assert tpl.momentum == 0.9 and not tpl.nesterov
    assert not tpl.l2_regularizer_weight and not tpl.l1_regularizer_weight
    assert not tpl.decoupled_weight_decay
    return
  assert tpl.cls is optimizers.AdamW
  assert (tpl.beta1, tpl.beta2, tpl.epsilon) == (0.9, 0.999, 1e-8)
  assert tpl.first_moment_dtype is None  # That of the variables, float32.
  decay_of = tpl.Instantiate().decay_of
  moe = 'vit/blocks_6/sub/feed_forward/moe'
  kernels = [
      'vit/patch_embedding/kernel',
      'vit/blocks_0/sub/attention/wq',
      'vit/blocks_0/sub/attention/wo',
      'vit/blocks_0/sub/feed_forward/ffn_layer1/linear/w',
  ]
  others = [
      'head/bias',
      'vit/positions',
      'vit/norm/scale',
      'vit/blocks_0/sub/attention/bq',
      'vit/blocks_0/sub/attention/q_scale',
      'vit/blocks_0/sub/feed_forward/layer_norm/scale',
      'vit/blocks_0/sub/feed_forward/ffn_layer1/bias/b',
  ]
  if router['router']:
    kernels += [f'{moe}/experts/wi', f'{moe}/experts/wo']
    others += [f'{moe}/experts/bi', f'{moe}/phi', f'{moe}/nothing']
  if router['router'] in ('TokensChoiceMoE', 'ExpertsChoiceMoE'):
    kernels.append(f'{moe}/gate')
  assert decay_of('head/kernel') == want['head_decay']
  assert [decay_of(x) for x in kernels] == [want['kernel_decay']] * len(kernels)
  assert [decay_of(x) for x in others] == [0.0] * len(others)
  if 'scale_decay' in router:
    assert decay_of(f'{moe}/scale') == router['scale_decay']


@EACH
def test_learning_rate(name):
  want = LEAVES[name][3]
  train = built(name).task().train
  assert train.num_train_steps == want['steps']
  optimizer = train.learner.optimizer
  assert optimizer.learning_rate == want['rate']
  schedule = optimizer.lr_schedule.Instantiate()
  warmup, steps = want['warmup'], want['steps']
  at = [0, 1, warmup // 2, warmup, warmup + 1, steps // 2, steps - 7, steps]
  if 'cooldown' in want and want['schedule'] == 'rsqrt':
    at += [steps - want['cooldown'], steps - want['cooldown'] // 3]
  got = [want['rate'] * schedule.value_at(t) for t in at]
  # float32 steps: one part in 2^24 of all steps, against a short cooldown.
  np.testing.assert_allclose(
      got, [rate_at(want, t) for t in at], rtol=2e-5, atol=1e-10
  )
  if want.get('recorded'):
    recorded = golden_data.load('aux')
    at = recorded[f'lr_{want["recorded"]}_steps'][::4]
    got = [want['rate'] * schedule.value_at(t) for t in at]
    np.testing.assert_allclose(
        got, recorded[f'lr_{want["recorded"]}'][::4], rtol=2e-5, atol=1e-10
    )


@EACH
def test_data(name):
  want = LEAVES[name][3]
  train, *others = built(name).datasets()
  assert train.is_training and train.batch_size == want['batch']
  assert train.mixup == want.get('mixup', 0.0)
  assert [type(op).__name__ for op in train.ops] == want['ops']
  assert others
  for data in (train, *others):
    assert data.image_size == want['pixels']
  for data in others:
    assert not data.is_training and data.mixup == 0
    assert [type(op).__name__ for op in data.ops] == want['eval_ops']

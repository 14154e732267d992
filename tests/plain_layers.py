"""Layers of the paper in a few lines each, to compare with.

Written from the equations, with nothing of the package, for jax.grad in the
dtype of what they are given. Weights have the names that the package's layers
give them.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jax import numpy as jnp
import numpy as np

Tree = Mapping[str, Any]


def gelu(x: jax.Array) -> jax.Array:
  return x / 2 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def experts(w: Tree, slots: jax.Array) -> jax.Array:
  """Applies expert e to slots[:, e]: [B, E, P, D] to the same."""
  hidden = jnp.einsum('bepd,edh->beph', slots, w['wi']) + w['bi'][:, None]
  return jnp.einsum('beph,ehd->bepd', gelu(hidden), w['wo']) + w['bo'][:, None]


def softmax(z: jax.Array, axis: Any) -> jax.Array:
  z = jnp.exp(z - jax.lax.stop_gradient(z.max(axis, keepdims=True)))
  return z / z.sum(axis, keepdims=True)


def soft_moe(
    w: Tree,
    x: jax.Array,
    normalize: bool = True,
    dispatch: str = 'soft',
    combine: str = 'soft',
) -> jax.Array:
  phi, tokens = w['phi'], x
  if normalize:
    phi = phi / jnp.sqrt((phi**2).sum(0) + 1e-6)
    tokens = x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-6)
  z = w['scale'] * jnp.einsum('bnd,dep->bnep', tokens, phi)
  d = softmax(z if dispatch == 'soft' else 0 * z, 1)
  c = softmax(z if combine == 'soft' else 0 * z, (2, 3))
  slots = jnp.einsum('bnep,bnd->bepd', d, x)
  return jnp.einsum('bnep,bepd->bnd', c, experts(w['experts'], slots))


def sparse_moe(w: Tree, x: jax.Array, serve: Any) -> jax.Array:
  """Each token through all experts; `serve` says which of them count.

  Args:
    w: weights.
    x: [B, N, D].
    serve: a function of gates [B, N, E] as NumPy, which returns as many bools.
  """
  gates = softmax(x @ w['gate'], -1)
  served = jax.pure_callback(
      lambda g: serve(np.asarray(g)),
      jax.ShapeDtypeStruct(gates.shape, bool),
      jax.lax.stop_gradient(gates),
  )
  everywhere = jnp.broadcast_to(
      x[:, None], (x.shape[0], gates.shape[-1], *x.shape[1:])
  )
  outputs = experts(w['experts'], everywhere)
  return jnp.einsum('bne,bend->bnd', jnp.where(served, gates, 0), outputs)


def experts_choose(gates: np.ndarray, capacity: int) -> np.ndarray:
  best = np.argsort(-gates, axis=1, kind='stable')[:, :capacity]
  served = np.zeros(gates.shape, bool)
  np.put_along_axis(served, best, True, axis=1)
  return served


def tokens_choose(
    gates: np.ndarray, num_selected: int, capacity: int
) -> np.ndarray:
  """Batch-prioritized: first choices first, then by the token's best gate."""
  served = np.zeros(gates.shape, bool)
  for b, rows in enumerate(gates):
    choices = np.argsort(-rows, axis=-1, kind='stable')
    order = np.argsort(-rows.max(-1), kind='stable')
    for k in range(num_selected):
      for token in order:
        expert = choices[token, k]
        served[b, token, expert] = served[b, :, expert].sum() < capacity
  return served


def norm(w: Tree, x: jax.Array) -> jax.Array:
  centered = x - x.mean(-1, keepdims=True)
  variance = (centered**2).mean(-1, keepdims=True)
  return centered / jnp.sqrt(variance + 1e-6) * w['scale'] + w.get('bias', 0)


def attention(w: Tree, x: jax.Array) -> jax.Array:
  q, k, v = (
      jnp.einsum('bnd,dak->bnak', x, w['w' + n]) + w['b' + n] for n in 'qkv'
  )
  q = norm({'scale': w['q_scale']}, q)
  k = norm({'scale': w['k_scale']}, k)
  scores = jnp.einsum('bnak,bmak->banm', q, k) / np.sqrt(q.shape[-1])
  read = jnp.einsum('banm,bmak->bnak', softmax(scores, -1), v)
  return jnp.einsum('bnak,akd->bnd', read, w['wo']) + w['bo']


def vit(w: Tree, images: jax.Array, patch: int) -> jax.Array:
  """Features [B, D] of an unscanned model of blocks with and without MoE."""
  b, size, _, channels = images.shape
  n = size // patch
  x = images.reshape(b, n, patch, n, patch, channels).swapaxes(2, 3)
  x = x.reshape(b, n * n, -1) @ w['patch_embedding']['kernel']
  x = x + w['patch_embedding']['bias'] + w['positions']
  for i in range(sum(name.startswith('block_') for name in w)):
    block = w[f'block_{i}']
    x = x + attention(block['attention'], norm(block['attention_norm'], x))
    ff = block['feed_forward']
    y = norm(ff['layer_norm'], x)
    if 'moe' in ff:
      x = x + soft_moe(ff['moe'], y)
    else:
      first, second = ff['ffn_layer1'], ff['ffn_layer2']
      hidden = gelu(y @ first['linear']['w'] + first['bias']['b'])
      x = x + hidden @ second['linear']['w'] + second['bias']['b']
  return norm(w['norm'], x).mean(1)

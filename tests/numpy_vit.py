"""A vision transformer in NumPy, by the names and layouts of big_vision.

Written from the equations, apart from the package's own layers, to compare
with them.
"""

from collections.abc import Mapping

import numpy as np

EPSILON = 1e-6

Arrays = Mapping[str, np.ndarray]


def random_arrays(
    rng: np.random.RandomState,
    *,
    patch: int,
    channels: int,
    dims: int,
    hidden: int,
    heads: int,
    layers: int,
    tokens: int,
    classes: int,
) -> dict[str, np.ndarray]:
  """Returns arrays of all names of a model with positions and a linear head."""
  k = dims // heads
  block = {
      'LayerNorm_0/scale': [dims],
      'LayerNorm_0/bias': [dims],
      'MultiHeadDotProductAttention_0/out/kernel': [heads, k, dims],
      'MultiHeadDotProductAttention_0/out/bias': [dims],
      'LayerNorm_1/scale': [dims],
      'LayerNorm_1/bias': [dims],
      'MlpBlock_0/Dense_0/kernel': [dims, hidden],
      'MlpBlock_0/Dense_0/bias': [hidden],
      'MlpBlock_0/Dense_1/kernel': [hidden, dims],
      'MlpBlock_0/Dense_1/bias': [dims],
  }
  for name in ('query', 'key', 'value'):
    attention = f'MultiHeadDotProductAttention_0/{name}'
    block[f'{attention}/kernel'] = [dims, heads, k]
    block[f'{attention}/bias'] = [heads, k]
  shapes = {
      'embedding/kernel': [patch, patch, channels, dims],
      'embedding/bias': [dims],
      'pos_embedding': [1, tokens, dims],
      'Transformer/encoder_norm/scale': [dims],
      'Transformer/encoder_norm/bias': [dims],
      'head/kernel': [dims, classes],
      'head/bias': [classes],
  }
  for i in range(layers):
    shapes |= {f'Transformer/encoderblock_{i}/{n}': s for n, s in block.items()}
  return {
      name: (rng.normal(size=shape) * 0.4).astype(np.float32)
      for name, shape in shapes.items()
  }


def features(
    arrays: Arrays, images: np.ndarray, positions: np.ndarray
) -> np.ndarray:
  """Returns the mean of all tokens after the last norm, [B, D] float64.

  Args:
    arrays: see `random_arrays`.
    images: [B, size, size, channels].
    positions: [tokens, D].
  """
  arrays = {name: a.astype(np.float64) for name, a in arrays.items()}
  kernel = arrays['embedding/kernel']
  patch, grid = kernel.shape[0], images.shape[1] // kernel.shape[0]
  x = np.empty([len(images), grid * grid, kernel.shape[-1]])
  for row in range(grid):
    for column in range(grid):
      part = images[
          :,
          row * patch : (row + 1) * patch,
          column * patch : (column + 1) * patch,
      ]
      x[:, row * grid + column] = np.tensordot(part, kernel, 3)
  x += arrays['embedding/bias'] + positions
  layers = {n.split('/')[1] for n in arrays if 'encoderblock_' in n}
  for i in range(len(layers)):
    start = f'Transformer/encoderblock_{i}/'
    block = {
        n.removeprefix(start): a
        for n, a in arrays.items()
        if n.startswith(start)
    }
    x = x + attend(block, norm(block, 'LayerNorm_0', x))
    y = norm(block, 'LayerNorm_1', x)
    hidden = gelu(dense(block, 'MlpBlock_0/Dense_0', y))
    x = x + dense(block, 'MlpBlock_0/Dense_1', hidden)
  return norm(arrays, 'Transformer/encoder_norm', x).mean(1)


def attend(block: Arrays, x: np.ndarray) -> np.ndarray:
  """Returns self-attention of [B, N, D], head by head."""
  name = 'MultiHeadDotProductAttention_0'
  total = block[f'{name}/out/bias']
  for head in range(block[f'{name}/query/bias'].shape[0]):
    q, k, v = (
        x @ block[f'{name}/{n}/kernel'][:, head]
        + block[f'{name}/{n}/bias'][head]
        for n in ('query', 'key', 'value')
    )
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    read = scores / scores.sum(-1, keepdims=True) @ v
    total = total + read @ block[f'{name}/out/kernel'][head]
  return total


def norm(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
      x.var(-1, keepdims=True) + EPSILON
  )
  return x * arrays[f'{name}/scale'] + arrays[f'{name}/bias']


def dense(arrays: Arrays, name: str, x: np.ndarray) -> np.ndarray:
  return x @ arrays[f'{name}/kernel'] + arrays[f'{name}/bias']


def gelu(x: np.ndarray) -> np.ndarray:
  return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

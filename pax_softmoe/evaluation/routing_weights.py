"""What a trained model's MoE layers route where, as arrays and as a picture."""

from collections.abc import Sequence
import io
import os
from typing import Any

from etils import epath
import jax
import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt  # pylint: disable=g-import-not-at-top
import numpy as np


def dispatch_weights(intermediates: Any) -> dict[int, np.ndarray]:
  """Returns the dispatch weights of every MoE layer.

  Args:
    intermediates: that collection of a `VisionTransformer`, or of a model
      around one.

  Returns:
    From the index of a block to [B, N, E, P] float32.
  """
  found = {}
  leaves = jax.tree_util.tree_flatten_with_path(intermediates)[0]
  for path, value in leaves:
    keys = [getattr(k, 'key', getattr(k, 'name', None)) for k in path]
    if 'dispatch_weights' not in keys:
      continue
    stack = next(k for k in keys if str(k).startswith('block'))
    kind, _, first = stack.rpartition('_')
    # A scanned stack has all its layers in one array.
    layers = value if kind == 'blocks' else value[None]
    for i, weights in enumerate(layers):
      found[int(first) + i] = np.asarray(weights, np.float32)
  return dict(sorted(found.items()))


def draw(
    images: np.ndarray,
    weights: dict[int, np.ndarray],
    titles: Sequence[str],
    path: os.PathLike,
    max_slots: int = 32,
) -> None:
  """Draws which patches each slot reads, and writes it as a PNG.

  One row for each layer and image, one column for each slot; the first column
  is the image. Weights are in parts of an even mix of all patches: white is 1,
  blue less, red more, full at 2. The largest is printed above.

  Args:
    images: [B, height, width, channels], values from -1 to 1.
    weights: from `dispatch_weights`, of the same images.
    titles: a caption for each image.
    path: where to write.
    max_slots: how many slots of each layer to draw.
  """
  count, height, width, _ = images.shape
  slots = min(max_slots, *(w.shape[2] * w.shape[3] for w in weights.values()))
  rows = len(weights) * count
  inches_high = 0.78 * rows + 0.5
  figure, axes = plt.subplots(
      rows,
      slots + 1,
      figsize=(0.62 * (slots + 1) + 0.8, inches_high),
      squeeze=False,
      gridspec_kw={'wspace': 0.06, 'hspace': 0.35},
  )
  for axis in axes.flat:
    axis.set_xticks([])
    axis.set_yticks([])
  for i, (layer, w) in enumerate(weights.items()):
    tokens = w.shape[1]
    side = round(tokens**0.5)
    per_expert = w.shape[3]
    for b in range(count):
      row = axes[i * count + b]
      row[0].imshow((images[b] + 1) / 2, cmap='gray', vmin=0, vmax=1)
      row[0].set_title(titles[b], fontsize=6, pad=2)
      if b == 0:
        row[0].set_ylabel(f'block {layer}', fontsize=8)
      # In parts of an even mix, in which every weight is 1 / tokens.
      flat = w[b].reshape(tokens, -1) * tokens
      for s in range(slots):
        grid = flat[:, s].reshape(side, side)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        row[1 + s].imshow(grid, extent=extent, cmap='RdBu_r', vmin=0, vmax=2)
        # A trace of the image, to see where on it the patches are.
        row[1 + s].imshow(
            (images[b] + 1) / 2, cmap='gray', vmin=0, vmax=1, alpha=0.25
        )
        label = f'{grid.max():.1f}'
        if i == b == 0:
          label = f'e{s // per_expert} s{s % per_expert}\n{label}'
        row[1 + s].set_title(label, fontsize=5, pad=1.5)
  figure.suptitle(
      'What each slot (expert, slot) reads: weights of patches in parts of an'
      ' even mix, white 1, red 2 and more; above each its largest',
      fontsize=8,
      y=figure.subplotpars.top + 0.45 / inches_high,
  )
  # Matplotlib knows no buckets.
  picture, output = io.BytesIO(), epath.Path(path)
  kind = output.suffix.removeprefix('.') or 'png'
  figure.savefig(picture, dpi=160, bbox_inches='tight', format=kind)
  output.write_bytes(picture.getvalue())
  plt.close(figure)

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
from pax_softmoe.layers import block_names

# Of 0, 1 (white) and 2, halved.
_COLOURS = matplotlib.colormaps['RdBu_r']


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
    child = next(k for k in keys if str(k).startswith('block'))
    first, is_stack = block_names.parse(child)
    # A scanned stack has all its layers in one array.
    for i, weights in enumerate(value if is_stack else value[None]):
      found[first + i] = np.asarray(weights, np.float32)
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
  count, _, width, _ = images.shape
  slots = min(max_slots, *(w.shape[2] * w.shape[3] for w in weights.values()))
  rows = len(weights) * count
  inches_high = 0.78 * rows + 0.5
  # One picture a row: as many axes as slots would take longer than all else.
  figure, axes = plt.subplots(
      rows,
      figsize=(0.62 * (slots + 1) + 0.8, inches_high),
      squeeze=False,
      gridspec_kw={'hspace': 0.35},
  )
  gap = _gap(width)
  for i, (layer, w) in enumerate(weights.items()):
    for b in range(count):
      axis = axes[i * count + b, 0]
      # In parts of an even mix, in which every weight is 1 / tokens.
      parts = w[b].reshape(len(w[b]), -1)[:, :slots] * len(w[b])
      axis.imshow(mosaic(images[b], parts), interpolation='nearest')
      labels = [titles[b], *(f'{largest:.1f}' for largest in parts.max(axis=0))]
      if i == b == 0:
        for s in range(slots):
          expert, slot = divmod(s, w.shape[3])
          labels[1 + s] = f'e{expert} s{slot}\n{labels[1 + s]}'
      for s, label in enumerate(labels):
        axis.text(
            s * (width + gap) + width / 2,
            -gap,
            label,
            fontsize=5 if s else 6,
            ha='center',
            va='bottom',
        )
      axis.set(xticks=[], yticks=[])
      axis.spines[:].set_visible(False)
      if b == 0:
        axis.set_ylabel(f'block {layer}', fontsize=8)
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


def mosaic(image: np.ndarray, parts: np.ndarray) -> np.ndarray:
  """Returns an image, and beside it what each slot reads of it.

  Args:
    image: [height, width, channels], values from -1 to 1.
    parts: [N, slots], weights of its patches in parts of an even mix.

  Returns:
    [height, (1 + slots) * (width + gap) - gap, 3] from 0 to 1.
  """
  height, width, _ = image.shape
  picture = np.clip((image + 1) / 2, 0, 1)
  step = width + _gap(width)
  found = np.ones([height, step * (1 + parts.shape[1]), 3])
  found[:, :width] = picture
  side = round(len(parts) ** 0.5)
  # Of each pixel, the patch it is in.
  down, across = (np.arange(n) * side // n for n in (height, width))
  for s, column in enumerate(parts.T, start=1):
    grid = column.reshape(side, side)[down][:, across]
    # A trace of the image, to see where on it the patches are.
    found[:, s * step : s * step + width] = (
        0.75 * _COLOURS(grid / 2)[..., :3] + 0.25 * picture
    )
  return found[:, : step * (1 + parts.shape[1]) - _gap(width)]


def _gap(width: int) -> int:
  """Returns how many pixels are between two pictures."""
  return max(1, width // 16)

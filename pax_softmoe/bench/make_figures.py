"""Draws the figures of the documentation.

    python -m pax_softmoe.bench.make_figures [JOB_DIR]

in a checkout writes docs/images/sharding.png: where the default H/14 lives on a mesh; and
slices.png: what is stored of it for slices; and with the folder of a finished job
of SoftMoEFashionMnist, weights.png: the weights of one block for one image.
"""

import os
import pathlib
import sys
from typing import Any

if __name__ == '__main__':
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import matplotlib

matplotlib.use('Agg')
# The choices above must come first.
# ruff: noqa: E402
import jax
from matplotlib import patches
from matplotlib import pyplot as plt
import numpy as np
from pax_softmoe import experiments
from pax_softmoe.evaluation import inference
from pax_softmoe.experiments import stored
from pax_softmoe.model_size import counts
from pax_softmoe.sharding import axis_rules
from pax_softmoe.tpu import hardware

IMAGES = pathlib.Path('docs/images')
MESH = (1, 2, 128, 1)
# Places on the expert axis that are drawn; a gap between the last two.
SHOWN = (0, 1, 2, 127)
COLORS = ('#4477aa', '#ee6677', '#228833', '#ccbb44')


def sharding_figure() -> None:
  """Draws chips before and after the exchange of slots."""
  experiment = experiments.SoftMoEH14.with_settings(ICI_MESH_SHAPE=MESH)()
  rules = experiment.sharding_rules()
  _, data, expert, _ = MESH
  images = experiment.TRAIN_BATCH_SIZE // axis_rules.axis_size(
      MESH, rules.activation('b')[0]
  )
  experts = experiment.num_experts() // axis_rules.axis_size(
      MESH, rules.activation('e')[0]
  )
  slots = experiment.SLOTS_PER_EXPERT * images
  tokens = counts.num_tokens(experiment)
  figure, axes = plt.subplots(2, 1, figsize=(10, 6.2))
  for ax, title in zip(
      axes,
      (
          (
              'Tokens: each chip has its own images, and the slots of all'
              f' {experiment.num_experts()} experts for them'
          ),
          (
              'Slots: each chip has its own expert, with the slots of all'
              ' images of its row'
          ),
      ),
  ):
    ax.set_title(title, fontsize=11, loc='left')
    ax.set_xlim(-0.75, len(SHOWN) + 0.4)
    ax.set_ylim(-0.15, data + 0.35)
    ax.axis('off')
  for row in range(data):
    y = data - 1 - row
    for ax in axes:
      ax.text(-0.1, y + 0.42, f'data {row}', ha='right', va='center')
      ax.text(3.15, y + 0.42, '…', fontsize=18, ha='center', va='center')
    for place, e in enumerate(SHOWN):
      x = place + (0.3 if e == expert - 1 else 0)
      first = (row * expert + e) * images
      text = f'images {first}-{first + images - 1}\n{images * tokens:,} tokens'
      _chip(axes[0], x, y, text)
      for part in range(len(SHOWN)):
        _part(axes[0], x, y, part, COLORS[part])
      e_text = f'expert {e}' if experts == 1 else f'experts {e * experts}-…'
      own = f'{e_text}\n{slots * expert * experts:,} slots'
      _chip(axes[1], x, y, own)
      for part in range(len(SHOWN)):
        _part(axes[1], x, y, part, COLORS[place])
  for place, e in enumerate(SHOWN):
    x = place + (0.3 if e == expert - 1 else 0) + 0.42
    for ax in axes:
      ax.text(x, data + 0.02, f'expert axis {e}', ha='center', fontsize=9)
  figure.text(
      0.5,
      0.495,
      'all-to-all within each row, there and back   ↕   nothing moves between'
      ' rows',
      ha='center',
      fontsize=10,
      color='#444444',
  )
  mesh = ' x '.join(map(str, MESH))
  figure.suptitle(
      f'SoftMoEH14 on {data * expert} chips, mesh {mesh} (replica, data,'
      ' expert, mdl); a color is an expert',
      fontsize=12,
  )
  figure.tight_layout(h_pad=2.5)
  figure.savefig(IMAGES / 'sharding.png', dpi=110)
  plt.close(figure)


def _chip(ax, x: float, y: float, text: str) -> None:
  box = patches.FancyBboxPatch(
      (x, y), 0.84, 0.84, 'round,pad=0,rounding_size=0.05', fc='#f4f4f4', ec='k'
  )
  ax.add_patch(box)
  ax.text(x + 0.42, y + 0.6, text, ha='center', va='center', fontsize=9)


def _part(ax, x: float, y: float, part: int, color: str) -> None:
  """Draws one of the groups of slots that a chip holds."""
  width = 0.16
  ax.add_patch(
      patches.Rectangle(
          (x + 0.07 + part * (width + 0.02), y + 0.1), width, 0.22, fc=color
      )
  )


def _first_weights(intermediates: Any, name: str) -> np.ndarray:
  """Returns [N, E*P], the weights of the first block and image."""
  for path, value in jax.tree_util.tree_flatten_with_path(intermediates)[0]:
    if name in jax.tree_util.keystr(path):
      # Of a scanned stack, [layers, B, N, E, P].
      first = np.asarray(value).reshape(-1, *value.shape[-3:])[0]
      return first.reshape(len(first), -1)
  raise ValueError(f'the model keeps no {name}; give a job with a soft router')


def slices_figure() -> None:
  """Draws the estimates of the stored settings, per image and chip."""
  found = {
      name: entry
      for name, entry in stored.entries('SoftMoEH14').items()
      if name.startswith('v4-')
  }
  names = sorted(found, key=lambda name: hardware.find_slice(name).devices)
  estimates = [found[name]['estimate'] for name in names]
  labels = [
      f'{name}\n{e["images_per_chip"]} a chip'
      for name, e in zip(names, estimates)
  ]
  size = counts.describe(experiments.SoftMoEH14())
  chip = hardware.find_slice(names[0]).chip
  least = 3e9 * size['gflop_per_image'] / chip.peak_flops * 1e3
  compute, exchanges = (
      np.array([e[key] / e['images_per_chip'] for e in estimates])
      for key in ('compute_ms', 'exposed_ms')
  )
  figure, axes = plt.subplots(1, 2, figsize=(12, 3.8))
  bottom = np.zeros(len(names))
  for values, label, color in (
      (np.full(len(names), least), 'model FLOPs at the peak', COLORS[2]),
      (compute - least, 'the rest of computation', COLORS[0]),
      (exchanges, 'exchanges that it waits for', COLORS[3]),
  ):
    axes[0].bar(labels, values, bottom=bottom, label=label, color=color)
    bottom += values
  axes[0].set_ylabel('ms of a chip for an image, estimated')
  axes[0].legend(fontsize=8)
  axes[1].bar(labels, [e['hbm_gib'] for e in estimates], color=COLORS[0])
  axes[1].axhline(chip.usable_hbm_gib, color=COLORS[1], label='usable')
  axes[1].legend(fontsize=8, loc='lower right')
  axes[1].set_ylabel('GiB of HBM a chip')
  for ax in axes:
    ax.tick_params(axis='x', labelsize=8)
  figure.tight_layout()
  figure.savefig(IMAGES / 'slices.png', dpi=110)
  plt.close(figure)


def weights_figure(job_dir: str) -> None:
  """Draws dispatch and combine weights of the first block with experts."""
  classifier = inference.TrainedClassifier(
      experiments.SoftMoEFashionMnist(), pathlib.Path(job_dir)
  )
  image = classifier.experiment.eval_input().get_next().image[:1]
  found = classifier.intermediates(image)
  figure, axes = plt.subplots(
      1, 3, figsize=(10, 3.6), width_ratios=(1, 1.25, 1.25)
  )
  axes[0].imshow(image[0, :, :, 0], cmap='gray')
  for edge in range(0, image.shape[1] + 1, 7):
    axes[0].axhline(edge - 0.5, color='#4477aa', lw=0.8)
    axes[0].axvline(edge - 0.5, color='#4477aa', lw=0.8)
  axes[0].set_title('16 tokens')
  axes[0].axis('off')
  for ax, name, title in (
      (axes[1], 'dispatch', 'D: each column sums to 1'),
      (axes[2], 'combine', 'C: each row sums to 1'),
  ):
    weights = _first_weights(found, f'{name}_weights')
    shown = ax.imshow(weights, cmap='viridis', vmin=0)
    ax.set(title=title, xlabel='slot (expert)', ylabel='token')
    figure.colorbar(shown, ax=ax, fraction=0.046)
  figure.tight_layout()
  figure.savefig(IMAGES / 'weights.png', dpi=110)
  plt.close(figure)


if __name__ == '__main__':
  IMAGES.mkdir(exist_ok=True)
  sharding_figure()
  slices_figure()
  if sys.argv[1:]:
    weights_figure(sys.argv[1])

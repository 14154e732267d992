"""Time of a step without exchanges, by arithmetic.

Matrix products at a share of the peak, and then traffic to memory at its
bandwidth.
"""

from pax_softmoe.tpu import hardware
from pax_softmoe.tuning import memory
from pax_softmoe.tuning import placed

# Big bfloat16 products take 80 to 93 % of the peak by the compiler's cycles.
MATMUL_SHARE_OF_PEAK = 0.85
# Numbers that the forward pass of a block reads and writes, for each token: in
# units of model dims, hidden dims, and attention scores (tokens x heads).
# Chosen to come near the compiler's cycles for SoftMoEH14 on a v4-128.
TRAFFIC_MODEL_DIMS = 22
TRAFFIC_HIDDEN_DIMS = 4
TRAFFIC_SCORES = 3
# Times that the optimizer reads or writes all weights, moments and gradients.
TRAFFIC_OPTIMIZER = 10
# Forward passes that a step is worth, backward pass included; but for 'none',
# blocks are scanned, which copies what is kept.
PASSES = {'full': 4.25, 'exchange': 4.25, 'products': 4.0, 'none': 3.0}
_SCORE_BYTES = 4


def seconds(at: placed.Placed, chip: hardware.Chip) -> float:
  """Returns products and memory traffic, one after the other."""
  of, images = at.experiment, at.point.images_per_chip
  passes = PASSES[of.REMAT]
  flops = passes * at.forward_flops * images
  dims = TRAFFIC_MODEL_DIMS * of.MODEL_DIMS
  dims += TRAFFIC_HIDDEN_DIMS * of.HIDDEN_DIMS
  scores = TRAFFIC_SCORES * at.tokens * of.NUM_HEADS * _SCORE_BYTES
  of_token = dims * at.itemsize + scores
  traffic = passes * of.NUM_LAYERS * images * at.tokens * of_token
  traffic += TRAFFIC_OPTIMIZER * at.weight_bytes
  # What is kept is written once and read once.
  traffic += 2 * memory.kept(at)
  products = flops / (MATMUL_SHARE_OF_PEAK * chip.peak_flops)
  return products + traffic / chip.hbm_bytes_per_second

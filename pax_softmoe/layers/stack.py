"""Stacks of equal blocks."""

from flax import linen as nn
import jax
from pax_softmoe.layers import remat_policies
from praxis import base_layer
from praxis import flax_utils
from praxis import pytypes
from praxis.layers import repeats

JTensor = pytypes.JTensor


class RepeatedBlocks(repeats.Repeat):
  """Equal blocks one after the other, compiled once and scanned over.

  What praxis' `Repeat` does, with remat policies by name: those of praxis are
  an enum that knows only its own layers.

  Attributes:
    remat: name of a policy in `remat_policies.POLICIES`.
  """

  remat: str = 'full'

  def __call__(self, inputs: JTensor) -> JTensor:
    """Applies all blocks.

    Args:
      inputs: [B, N, D].

    Returns:
      [B, N, D].
    """
    body = lambda block, x: (block(x), None)
    if self.remat != 'none':
      # A scan's body is not merged with another.
      policy = remat_policies.find(self.remat)
      body = nn.remat(body, prevent_cse=False, policy=policy)
    scan = nn.scan(
        body,
        variable_axes=repeats.SCAN_VARIABLE_AXES,
        split_rngs={
            base_layer.PARAMS: self.is_initializing(),
            base_layer.RANDOM: True,
        },
        length=self.x_times,
        metadata_params={
            'is_initializing': self.is_initializing(),
            'sub_weight_split_dims_mapping': None,
            'x_times': self.x_times,
            'optimizer_dims_mapping': None,
        },
    )
    scan = nn.map_variables(
        scan,
        base_layer.SUMMARIES,
        mutable=self.is_mutable_collection(base_layer.SUMMARIES),
        trans_in_fn=lambda tree: flax_utils.maybe_repack_summary(
            tree, True, self.x_times
        ),
        trans_out_fn=lambda tree: flax_utils.maybe_unpack_summary(
            tree, True, self.x_times
        ),
    )
    scan = nn.map_variables(
        scan,
        base_layer.AUX_LOSS,
        mutable=self.is_mutable_collection(base_layer.AUX_LOSS),
        trans_out_fn=lambda tree: jax.tree_util.tree_map(
            lambda x: x.sum(), tree
        ),
    )
    return scan(self.sublayer, inputs)[0]


def rematted(
    block: base_layer.BaseLayer, remat: str, inputs: JTensor
) -> JTensor:
  """Returns one block's [B, N, D] of `inputs`, under a remat policy by name."""
  if remat == 'none':
    return block(inputs)
  call = nn.remat(lambda block, x: block(x), policy=remat_policies.find(remat))
  return call(block, inputs)

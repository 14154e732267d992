"""Experts Choice as a Praxis layer: every expert picks its tokens."""

from pax_softmoe import routing_sparse
from pax_softmoe.layers import sparse_moe
from praxis import pytypes

JTensor = pytypes.JTensor


class ExpertsChoiceMoE(sparse_moe.SparseMoE):
  """Sparse mixture in which every expert picks its C best tokens.

  arXiv 2202.09368, and the second baseline of the Soft MoE paper (section 3).
  Experts are equally busy without a loss, while a token may be picked by many
  experts or by none.

  Attributes:
    capacity_rounding: see `SparseMoE`; 'round' as in the official configs.
  """

  capacity_rounding: str = 'round'

  def _choose(self, gates: JTensor, padded: JTensor | None) -> JTensor:
    capacity = self.capacity(gates.shape[1])
    return routing_sparse.choose_tokens(gates, capacity, padded)

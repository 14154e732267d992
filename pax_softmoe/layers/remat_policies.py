"""What of a block is kept for the backward pass."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax

_save_names = jax.checkpoint_policies.save_only_these_names

# What the backward pass finds in memory instead of computing it again. Names
# are those of `checkpoint_name` in the layers; a block's input is always kept.
POLICIES: Mapping[str, Callable[..., Any]] = {
    # Nothing: least memory, one more forward pass and two more exchanges.
    'full': jax.checkpoint_policies.nothing_saveable,
    # What has crossed chips, so that no exchange is done twice.
    'exchange': _save_names('expert_inputs', 'expert_outputs'),
    # What attention, router and experts make, without what is cheap to redo.
    # Of a block's products those of queries, keys, values and of attention's
    # outputs are done again, and the first of a dense MLP.
    'products': _save_names(
        'attention_context',
        'attention_log_sum',
        'router_logits',
        'expert_inputs',
        'expert_hidden',
        'expert_outputs',
    ),
    # Everything: most memory, no work done twice.
    'none': jax.checkpoint_policies.everything_saveable,
}


def find(name: str) -> Callable[..., Any]:
  """Returns the policy of that name.

  Raises:
    ValueError: there is no such policy.
  """
  if name not in POLICIES:
    raise ValueError(
        f'no remat policy {name!r}; use one of {", ".join(POLICIES)}'
    )
  return POLICIES[name]

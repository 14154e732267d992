"""Programs from XLA's text, which its own parser reads."""

import math
import re

from pax_softmoe.hlo import module
import versions


def read(text: str) -> module.Module:
  """Returns the program of a text, for as many devices as its head says."""
  sizes = re.findall(r'\b(?:num_partitions|replica_count)=(\d+)', text)
  parsed = versions.hlo_module_from_text(text)
  return module.parse(
      parsed.as_serialized_hlo_module_proto(), math.prod(map(int, sizes))
  )

"""Flags of the compiler for TPUs, in sets with names.

libtpu takes them from LIBTPU_INIT_ARGS when it starts. They are not part of an
experiment: whoever starts a job has to set them. All sets have `ALWAYS`.
"""

from collections.abc import Mapping
import dataclasses
import os

VARIABLE = 'LIBTPU_INIT_ARGS'
# Products in rounds of send and multiply take memory on slices of 32 chips.
ALWAYS = ('--xla_jf_spmd_threshold_for_windowed_einsum_mib=100000',)


@dataclasses.dataclass(frozen=True)
class FlagSet:
  """Flags that are given together.

  Attributes:
    purpose: in a few words.
    flags: as libtpu takes them.
  """

  purpose: str
  flags: tuple[str, ...]


_OVERLAP = (
    '--xla_tpu_enable_latency_hiding_scheduler=true',
    '--xla_tpu_enable_async_all_to_all=true',
    '--xla_enable_async_all_gather=true',
    '--xla_enable_async_all_reduce=true',
    '--xla_tpu_prefer_async_allgather_to_allreduce=true',
)
_SPARSE_CORES = (
    '--xla_tpu_enable_sparse_core_collective_offload_all_reduce=true',
    '--xla_tpu_enable_sparse_core_collective_offload_reduce_scatter=true',
    '--xla_tpu_enable_sparse_core_collective_offload_all_gather=true',
    '--xla_tpu_use_tc_device_shape_on_sc=true',
    '--xla_sc_disable_megacore_partitioning=true',
    '--xla_tpu_sparse_core_all_reduce_offload_min_size_in_bytes=1048576',
    '--xla_tpu_enable_async_collective_fusion_fuse_all_reduce=false',
    '--xla_tpu_enable_all_reduce_offload_tracing=true',
)
SETS: Mapping[str, FlagSet] = {
    'none': FlagSet('what libtpu does by itself', ()),
    'overlap': FlagSet(
        'gathers and all-to-alls run while the chip computes', _OVERLAP
    ),
    'sparse_cores': FlagSet(
        'as overlap; sums run on the SparseCores of v5p, by libtpu 0.0.23 or'
        ' newer',
        _OVERLAP + _SPARSE_CORES,
    ),
}


def find(name: str) -> FlagSet:
  """Returns the set of that name.

  Raises:
    ValueError: there is none.
  """
  if name not in SETS:
    raise ValueError(f'no set of flags {name!r}; use one of {", ".join(SETS)}')
  return SETS[name]


def users() -> str:
  """Returns the flags that the user has set, as one text."""
  return os.environ.get(VARIABLE, '').strip()


def text(name: str) -> str:
  """Returns what a set makes of `VARIABLE`: its flags, then the user's."""
  return ' '.join([*ALWAYS, *find(name).flags, users()]).strip()


def missing(wanted: str) -> list[str]:
  """Returns the flags of a text that the user has not set so."""
  return [flag for flag in wanted.split() if flag not in users().split()]

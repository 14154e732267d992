"""What a sweep found, and the JSON that it is kept as."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import os
from typing import Any

from etils import epath
import pydantic

# What of a point is kept with stored settings as their estimate.
_STORED = (
    'mesh',
    'preset',
    'images_per_chip',
    'compiler_flags',
    'exchange_parts',
    'hbm_gib',
    'collectives',
    'compute_ms',
    'exchange_ms',
    'exposed_ms',
    'step_ms',
    'images_per_second_per_chip',
    'mfu',
)


@dataclasses.dataclass(frozen=True)
class FirstEstimate:
  """What arithmetic alone says of a point.

  Attributes:
    gib: memory of a chip by what it is for.
    compute_ms: without exchanges.
    exchange_ms: exchanges alone.
  """

  gib: dict[str, float]
  compute_ms: float
  exchange_ms: float


@dataclasses.dataclass(frozen=True)
class Exchange:
  """All exchanges of a kind in a step: how many, and GB that a chip sends."""

  count: float
  gb: float


@dataclasses.dataclass(frozen=True)
class Point:
  """A point of a sweep, and what is known of it.

  Attributes:
    mesh: (replica, data, expert, mdl), of one slice.
    preset: of sharding.
    remat: name of the policy.
    images_per_chip: of a training batch.
    first_moment: its dtype; None for that of the weights.
    compiler_flags: a name of `flags.SETS`.
    exchange_parts: of a batch, in MoE layers.
    effort: that it was compiled with: 'full', 'low' or 'none'.
    target: of the compiler: 'tpu', 'cpu' or 'none'.
    status: 'ok', 'out of memory', 'failed', 'timed out' or 'not compiled'.
    fits: whether a chip has the memory.
    hbm_gib: memory of a chip.
    excess_gib: what of it is too much.
    collectives: exchanges by kind.
    compute_ms: of a step.
    exchange_ms: of its exchanges.
    exposed_ms: what of them the chip waits for.
    step_ms: compute and what is exposed.
    images_per_second_per_chip: of training.
    mfu: FLOPs of the model, in parts of a chip's peak.
    verdict: in words.
    estimate: by arithmetic.
    exchange_by_kind: ms of exchanges.
    top: rows of where time goes, by 'layers', 'lines' and 'collectives'; empty
      unless compiled with full effort.
    settings: that make the experiment this point.
    environment: variables that the compiler relies on.
    flag: the same for a command line.
  """

  mesh: tuple[int, ...]
  preset: str
  remat: str
  images_per_chip: int
  effort: str
  target: str
  status: str
  fits: bool
  hbm_gib: float
  excess_gib: float
  collectives: dict[str, Exchange]
  compute_ms: float
  exchange_ms: float
  exposed_ms: float
  step_ms: float
  images_per_second_per_chip: float
  mfu: float
  verdict: str
  estimate: FirstEstimate
  exchange_by_kind: dict[str, float]
  top: dict[str, list[dict[str, Any]]]
  settings: dict[str, Any]
  environment: dict[str, str]
  first_moment: str | None = None
  compiler_flags: str = 'none'
  exchange_parts: int = 1
  flag: str = ''


@dataclasses.dataclass(frozen=True)
class Result:
  """All that a sweep found.

  Attributes:
    experiment: its name.
    slice: as `hardware.parse_slices` takes it.
    chips: of all slices.
    note: what all numbers rest on.
    constants: of arithmetic.
    points: the best first.
  """

  experiment: str
  slice: str
  chips: int
  note: str
  constants: dict[str, float]
  points: Sequence[Point]

  @property
  def usable_gib(self) -> float:
    """What programs may use of the memory of a chip."""
    return self.constants['usable_hbm_gib']

  def as_json(self) -> dict[str, Any]:
    """Returns what `read` reads, as JSON can hold it."""
    found = dataclasses.asdict(self)
    for point in found['points']:
      point['communication_ms'] = point['exchange_ms']  # Its former name.
    return found

  def entry(self, versions: Mapping[str, str]) -> dict[str, Any]:
    """Returns the best point as `experiments.stored` keeps it.

    Args:
      versions: of the packages that compiled.

    Raises:
      ValueError: no point was compiled with full effort and fits.
    """
    for point in self.points:
      if point.fits and point.effort == 'full':
        found = dataclasses.asdict(point)
        return {
            'settings': point.settings,
            'estimate': {name: found[name] for name in _STORED},
            'environment': point.environment,
            'versions': dict(versions),
        }
    raise ValueError(
        'nothing to store: no point was compiled with full effort and fits;'
        ' give more --budget_minutes, or fewer --images_per_chip'
    )


def read(path: os.PathLike | str) -> Result:
  """Returns what a file holds that `Result.as_json` was written to.

  Raises:
    ValueError: it is none, in one line.
  """
  try:
    found = json.loads(epath.Path(path).read_text())
    _complete(found)
    return pydantic.TypeAdapter(Result).validate_python(found)
  except pydantic.ValidationError as error:
    first = error.errors()[0]
    where = '.'.join(map(str, first['loc']))
    reason = f'{where}: {first["msg"]}' if where else first['msg']
  except (OSError, ValueError) as error:
    reason = str(error)
  raise ValueError(f'{path} is no result of tune: {reason}')


def _complete(found: Any) -> None:
  """Adds what files lack that were written when no exchange was hidden."""
  points = found.get('points') if isinstance(found, dict) else None
  for point in points if isinstance(points, list) else ():
    if 'communication_ms' in point and 'exchange_ms' not in point:
      ms = point['communication_ms']
      by_kind = point.get('communication_by_kind', {})
      point.update(exchange_ms=ms, exposed_ms=ms, exchange_by_kind=by_kind)
      for row in point.get('top', {}).get('collectives', ()):
        row.setdefault('exposed_ms', row['ms'])
      point['estimate'].setdefault('exchange_ms', ms)
      point['environment'] = found.get('environment', {})

"""Several data sets as one."""

from collections.abc import Sequence
import dataclasses

from pax_softmoe.data.read import sources
import seqio


@dataclasses.dataclass(frozen=True)
class MixedImages(sources.ImageSource):
  """Data sets with the same classes, mixed at rates.

  Training takes each example from a data set drawn at random with probability
  rate / sum of rates, which is what rates of a SeqIO mixture mean; a small data
  set comes again sooner than a large one. Evaluation reads all data sets once,
  one after the other.

  Attributes:
    mixed: the data sets, each with its rate.
    name: for messages.
  """

  mixed: Sequence[tuple[sources.ImageSource, float]]
  name: str = 'mixture'

  def __post_init__(self):
    if not self.mixed:
      raise ValueError('a mixture needs data sets; name one or more')
    first, _ = self.mixed[0]
    for source, rate in self.mixed:
      if rate <= 0:
        raise ValueError(
            f'{_where(source)}: its rate is {rate}; give a number above 0'
        )
      if (source.num_classes, tuple(source.class_names)) != (
          first.num_classes,
          tuple(first.class_names),
      ):
        raise ValueError(
            f'{_where(source)} has other classes ({source.num_classes}) than'
            f' {_where(first)} ({first.num_classes}); mix data sets of the same'
            ' classes in the same order'
        )

  @property
  def num_classes(self) -> int:
    return self.mixed[0][0].num_classes

  @property
  def class_names(self) -> Sequence[str]:
    return self.mixed[0][0].class_names

  @property
  def splits(self) -> Sequence[str]:
    """The splits that all data sets have."""
    first, *others = [source.splits for source, _ in self.mixed]
    return tuple(s for s in first if all(s in splits for splits in others))

  @property
  def multi_label(self) -> bool:
    return any(source.multi_label for source, _ in self.mixed)

  def parts(self) -> Sequence[tuple[sources.ImageSource, float]]:
    return self.mixed

  def task(self) -> seqio.Task:
    """Returns the Task of the first data set; the others have theirs."""
    return self.mixed[0][0].task()

  def shard_sizes(self, split: str) -> Sequence[int]:
    self.check_split(split)
    return [n for source, _ in self.mixed for n in source.shard_sizes(split)]

  def host_sizes(self, split: str, num_hosts: int) -> Sequence[int]:
    self.check_split(split)
    sizes = [source.host_sizes(split, num_hosts) for source, _ in self.mixed]
    return [sum(of_host) for of_host in zip(*sizes)]

  def check(self) -> None:
    for source, _ in self.mixed:
      source.check()


def _where(source: sources.ImageSource) -> str:
  return getattr(source, 'data_dir', source.name)

"""The comparison of routers at equal steps and data: plan, results, picture."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import json
import statistics
from typing import Any

from etils import epath
from pax_softmoe.checkpoints import reading

EXPERIMENTS = (
    'ViTFashionMnist',
    'SoftMoEFashionMnist',
    'TokensChoiceFashionMnist',
    'ExpertsChoiceFashionMnist',
    'SoftUniformFashionMnist',
    'UniformSoftFashionMnist',
    'UniformFashionMnist',
    'IdentityFashionMnist',
)
_EVALUATION_NAME = 'evaluation.json'
# Settings in steps that make the shape of the learning-rate schedule.
_SCHEDULE = ('WARMUP_STEPS', 'COOLDOWN_STEPS', 'TIMESCALE')


@dataclasses.dataclass(frozen=True)
class Run:
  """One training of one experiment.

  Attributes:
    experiment: its name.
    seed: of weights, noise and order of images.
    settings: changed settings, the seed among them.
    steps: how many it trains.
    job_dir: where it lives.
  """

  experiment: str
  seed: int
  settings: Mapping[str, Any]
  steps: int
  job_dir: epath.Path

  def steps_saved(self) -> int:
    """Returns the step of the last checkpoint, or 0."""
    return max(reading.steps(self.job_dir), default=0)

  def is_trained(self) -> bool:
    """Returns whether the last step is saved."""
    return self.steps_saved() >= self.steps

  def evaluation(self) -> dict[str, float]:
    """Returns `accuracy` and `examples` of a run that `measure` has seen."""
    return json.loads((self.job_dir / _EVALUATION_NAME).read_text())


def plan(
    experiments: Sequence[type],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
    steps: int | None,
    folder: epath.Path,
) -> list[Run]:
  """Returns all runs, every experiment with the first seed before the second.

  Args:
    experiments: classes of registered experiments.
    seeds: of each experiment.
    settings: changed in every experiment that has them.
    steps: to train, with the schedule stretched to them; None for the
      experiments' own.
    folder: jobs go below it.

  Raises:
    ValueError: no experiment has one of the settings, one does not take a
      value, or steps differ.
  """
  from pax_softmoe.experiments import settings as declarations

  has = {cls: declarations.declared(cls) for cls in experiments}
  for name in settings:
    if not any(name in has[cls] for cls in experiments):
      raise ValueError(f'study: none of the experiments has a setting {name}')
  runs = []
  for seed in seeds:
    for cls in experiments:
      changed = schedule(cls, steps) if steps else {}
      changed.update({k: v for k, v in settings.items() if k in has[cls]})
      changed['SEED'] = seed
      cls.with_settings(**changed)
      runs.append(
          Run(
              experiment=cls.__name__,
              seed=seed,
              settings=changed,
              steps=changed.get('NUM_TRAIN_STEPS', cls.NUM_TRAIN_STEPS),
              job_dir=folder / f'{cls.__name__}-{seed}',
          )
      )
  if len({run.steps for run in runs}) > 1:
    raise ValueError('study: experiments train different steps; give --steps')
  return runs


def schedule(experiment: type, steps: int) -> dict[str, int]:
  """Returns settings that train `steps`, the schedule stretched in proportion.

  Args:
    experiment: whose own schedule it is.
    steps: to train.
  """
  factor = steps / experiment.NUM_TRAIN_STEPS
  stretched = {k: int(getattr(experiment, k) * factor) for k in _SCHEDULE}
  # It divides, so short runs must not round it to zero.
  stretched['TIMESCALE'] = max(1, stretched['TIMESCALE'])
  return {'NUM_TRAIN_STEPS': steps, **stretched}


def measure(
    jobs: Sequence[tuple[str, str, Mapping[str, Any]]], rounds: int
) -> dict[str, Any]:
  """Evaluates finished jobs, and times the forward pass of each experiment.

  Accuracies are kept with the jobs and not computed again. Times are of one
  evaluation batch; experiments take turns in this process.

  Args:
    jobs: (experiment, folder, settings) of each finished run.
    rounds: turns of each experiment.

  Returns:
    By experiment `parameters`, `gflop_per_image`, and `ms_per_image` with its
    spread over rounds.
  """
  import jax
  from pax_softmoe import experiments
  from pax_softmoe.bench import speed
  from pax_softmoe.evaluation import inference
  from pax_softmoe.model_size import counts

  calls, facts, batch_sizes = {}, {}, {}
  for name, folder, settings in jobs:
    path = epath.Path(folder) / _EVALUATION_NAME
    if name in calls and path.exists():
      continue
    experiment = getattr(experiments, name).with_settings(**settings)()
    classifier = inference.TrainedClassifier(experiment, path.parent)
    if not path.exists():
      found = classifier.evaluate(experiment.eval_input())
      path.write_text(json.dumps(found) + '\n')
    if name not in calls:
      batch = jax.device_put(experiment.eval_input().get_next())
      calls[name] = functools.partial(classifier.metrics, batch)
      batch_sizes[name] = experiment.EVAL_BATCH_SIZE
      facts[name] = counts.describe(experiment)
  seconds = speed.interleaved(calls, rounds)
  return {
      name: {
          'parameters': facts[name]['parameters'],
          'gflop_per_image': facts[name]['gflop_per_image'],
          'ms_per_image': speed.spread(
              [1e3 * s / batch_sizes[name] for s in values]
          ),
      }
      for name, values in seconds.items()
  }


def results(
    runs: Sequence[Run], measured: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """Returns one row for each experiment, in order.

  Args:
    runs: all of them finished and seen by `measure`.
    measured: from `measure`.
  """
  rows = []
  for name in dict.fromkeys(run.experiment for run in runs):
    found = {
        run.seed: run.evaluation() for run in runs if run.experiment == name
    }
    values = [one['accuracy'] for one in found.values()]
    rows.append({
        'experiment': name,
        'examples': next(iter(found.values()))['examples'],
        'accuracy': {str(seed): v for seed, v in zip(found, values)},
        'accuracy_mean': statistics.mean(values),
        'accuracy_stddev': statistics.stdev(values) if values[1:] else None,
        **measured[name],
    })
  return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the rows of `results` as a Markdown table."""
  lines = [
      '| experiment | accuracy, % | parameters | GFLOP/img | ms/img |',
      '|---|---|---|---|---|',
  ]
  for row in rows:
    accuracy = f'{100 * row["accuracy_mean"]:.2f}'
    if row['accuracy_stddev'] is not None:
      accuracy += f' ± {100 * row["accuracy_stddev"]:.2f}'
    ms = row['ms_per_image']
    lines.append(
        f'| {row["experiment"]} | {accuracy} | {row["parameters"]:,} |'
        f' {row["gflop_per_image"]:.4f} | {ms["median"]:.3f}'
        f' ({ms["min"]:.3f} to {ms["max"]:.3f}) |'
    )
  return '\n'.join(lines) + '\n'


def draw(rows: Sequence[Mapping[str, Any]], path: epath.Path) -> None:
  """Draws accuracy against FLOPs and against time, and writes a PNG.

  Args:
    rows: from `results`.
    path: where to write.
  """
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
  costs = (
      ('GFLOP per image', lambda row: row['gflop_per_image']),
      ('ms per image, forward', lambda row: row['ms_per_image']['median']),
  )
  for axis, (title, cost) in zip(axes, costs):
    for i, row in enumerate(rows):
      axis.errorbar(
          cost(row),
          100 * row['accuracy_mean'],
          yerr=100 * (row['accuracy_stddev'] or 0),
          fmt='osD^v<>P'[i % 8],
          color=f'C{i % 10}',
          capsize=3,
          label=row['experiment'].removesuffix('FashionMnist'),
      )
    axis.set_xlabel(title)
    axis.locator_params(axis='x', nbins=5)
    axis.set_xlim(0, 1.08 * max(map(cost, rows)))
    axis.grid(alpha=0.3)
  axes[0].set_ylabel('test accuracy, %')
  axes[1].legend(fontsize=8, loc='center left', bbox_to_anchor=(1.02, 0.5))
  figure.tight_layout()
  with path.open('wb') as sink:
    figure.savefig(sink, dpi=150)
  plt.close(figure)

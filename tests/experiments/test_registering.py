"""What registering adds to the docstring of an experiment."""

import inspect

from pax_softmoe import experiments
from pax_softmoe.tools import jobs
from paxml import experiment_registry
import pytest


def test_the_flagship_has_paper_results_time_and_command():
  assert inspect.getdoc(experiments.SoftMoEH14).splitlines() == [
      'Soft MoE H/14 with 128 experts.',
      '',
      (
          'From Sparse to Soft Mixtures of Experts (arXiv 2308.00951), table 8:'
          ' JFT-4B'
      ),
      (
          'precision at 1 61.7 %, ImageNet 10-shot 84.2 %, ImageNet fine-tuned'
          ' 89.1 %'
      ),
      'after 2,000,000 steps and 2,225 days of one TPU v3 core.',
      '',
      '    python -m paxml.main \\',
      (
          "        --fdl='config:pax_softmoe.experiments.SoftMoEH14.as_config("
          "DATA_DIR=…, NUM_CLASSES=…)' \\"
      ),
      '        --job_log_dir=…',
  ]


def test_time_and_steps_are_said_only_where_the_paper_says_them():
  doc = experiments.SoftMoES16ImageNet.__doc__
  assert '86.8 %.' in doc and 'steps' not in doc and 'days' not in doc


@pytest.mark.parametrize('name', jobs.registered())
def test_every_command_names_its_experiment_and_what_it_needs(name):
  cls = getattr(experiments, name)
  key = f'pax_softmoe.experiments.{name}'
  assert experiment_registry.get(key) is cls
  assert f'{key}.as_config(' in cls.__doc__ or f'--exp={key} ' in cls.__doc__
  for setting in cls.needs:
    assert f'{setting}=…' in cls.__doc__

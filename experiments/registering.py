"""Registers experiments, each with a docstring that says how it is run."""

import textwrap
from typing import Any

from paxml import experiment_registry


def register(cls: type) -> type:
  """Registers an experiment with Pax, and completes its docstring.

  To what its class says come the results that the paper has for it, with steps
  and time, and the command that trains it.

  Args:
    cls: a subclass of `base.ImageClassification`.

  Returns:
    The class.
  """
  parts = [cls.__doc__ or '', *_published(cls), _command(cls)]
  cls.__doc__ = '\n\n'.join(part.rstrip() for part in parts) + '\n  '
  return experiment_registry.register(cls)


def _published(cls: Any) -> list[str]:
  paper = vars(cls).get('published')
  if paper is None:
    return []
  numbers = ', '.join(f'{k} {v} %' for k, v in paper.by_label().items())
  time = f' and {paper.days:,} days of one TPU v3 core' if paper.days else ''
  # The paper does not say how long it fine-tunes.
  steps = f' after {cls.NUM_TRAIN_STEPS:,} steps{time}' if paper.jft else ''
  text = (
      'From Sparse to Soft Mixtures of Experts (arXiv 2308.00951), table'
      f' {paper.table}: {numbers}{steps}.'
  )
  return [textwrap.fill(text, 78, initial_indent='  ', subsequent_indent='  ')]


def _command(cls: Any) -> str:
  name = f'{cls.__module__}.{cls.__name__}'
  flag = f'--exp={name}'
  if cls.needs:
    values = ', '.join(f'{setting}=…' for setting in cls.needs)
    flag = f"--fdl='config:{name}.as_config({values})'"
  lines = ['python -m paxml.main', flag, '--job_log_dir=…']
  return '      ' + ' \\\n          '.join(lines)

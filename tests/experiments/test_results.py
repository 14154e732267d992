"""Published results."""

from pax_softmoe import experiments
from pax_softmoe.experiments import results


def test_only_numbers_that_the_paper_has_are_shown():
  got = results.Paper(58.1, None, 86.8, table=8).by_label()
  assert got == {'JFT-4B precision at 1': 58.1, 'ImageNet fine-tuned': 86.8}


def test_the_flagship_has_those_of_table_8():
  # Soft MoE H/14 with 128 experts after 2 million steps.
  assert experiments.SoftMoEH14.published.by_label() == {
      'JFT-4B precision at 1': 61.7,
      'ImageNet 10-shot': 84.2,
      'ImageNet fine-tuned': 89.1,
  }

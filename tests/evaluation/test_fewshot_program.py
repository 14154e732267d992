"""The few-shot evaluation as Pax runs it; test_finetuning.py trains with it."""

from pax_softmoe import experiments
from pax_softmoe.evaluation import fewshot
from pax_softmoe.evaluation import fewshot_program
import pytest


def test_numbers_have_the_names_of_their_summaries():
  result = fewshot.Result(
      accuracies={'pets': {1: 0.25, 5: 0.5}, 'birds': {1: 0.1, 5: 0.2}},
      penalties={1: 64.0, 5: 2.0},
  )
  assert fewshot_program.summaries(result) == {
      '1shot_penalty': 64.0,
      '5shot_penalty': 2.0,
      'pets/1shot': 0.25,
      'pets/5shot': 0.5,
      'birds/1shot': 0.1,
      'birds/5shot': 0.2,
  }


def test_features_are_no_loss_that_pax_could_ask_for():
  of = experiments.SoftMoEFashionMnist.with_settings(
      FEWSHOT_DATA='fashion_mnist', FEWSHOT_SHOTS=(1,)
  )
  program = fewshot_program.FewShotProgram(of().fewshot_plan())
  with pytest.raises(NotImplementedError, match='computed by each data set'):
    program.eval_step(None, None, None, None)

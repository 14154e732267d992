"""The train program's count of skipped steps."""

import numpy as np
from pax_softmoe.training import train_program
from praxis import py_utils
import pytest


class Task:
  """What the program reads of a task."""

  train = py_utils.NestedMap(max_skipped_steps=3)


def program_of(valid):
  """Returns a program after steps whose gradients were valid or not."""
  program = train_program.TrainProgram()
  program._task = Task()
  program._pending.extend(enumerate(map(np.array, valid)))
  return program


def count(program):
  while program._pending:
    program._count_skipped()


def test_good_steps_between_skipped_ones_start_the_count_anew():
  program = program_of([False, False, True, False, False])
  count(program)
  assert (program._skipped, program._skipped_in_a_row) == (4, 2)


def test_too_many_in_a_row_end_the_job_with_what_to_change():
  program = program_of([True, False, False, False])
  with pytest.raises(
      train_program.DivergenceError, match='step 3: .* 3 steps in a row .*lower'
  ):
    count(program)


def test_zero_is_for_never():
  class Patient(Task):
    train = py_utils.NestedMap(max_skipped_steps=0)

  program = program_of([False] * 50)
  program._task = Patient()
  count(program)
  assert program._skipped == 50

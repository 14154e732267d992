"""What people see of a sweep."""

import dataclasses
import shlex

from pax_softmoe.tools import tune_output
from sweep_results import results


def test_the_best_point_is_a_command_to_paste(capsys):
  found = results()
  best = dataclasses.replace(found.points[0], flag='--exp=a.B')
  points = [best, *found.points[1:]]
  tune_output.print_result(dataclasses.replace(found, points=points))
  text = capsys.readouterr().out
  assert 'E on v4-8, 4 devices: estimates, best first' in text
  assert 'python -m paxml.main "--exp=a.B"' in text
  assert found.note in text


def test_points_that_were_not_compiled_are_counted(capsys):
  found = results()
  left = dataclasses.replace(found.points[2], status='not compiled')
  points = [*found.points[:2], left]
  tune_output.print_result(dataclasses.replace(found, points=points))
  assert '1 more were left out by arithmetic' in capsys.readouterr().out


def test_variables_are_quoted_for_a_shell(capsys):
  tune_output.print_command({'FLAGS': '--a=1 --b=2'}, "--fdl=f(A='x')")
  words = shlex.split(capsys.readouterr().out)
  assert words[0] == 'FLAGS=--a=1 --b=2'
  assert words[-1] == "--fdl=f(A='x')"

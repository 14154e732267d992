"""What Pax gets of an experiment, registered or configured."""

from pax_softmoe import experiments
from pax_softmoe.evaluation import fewshot_program
from pax_softmoe.experiments import stored
from pax_softmoe.training import train_program
from praxis import pax_fiddle
import pytest

Demo = experiments.SoftMoEFashionMnist


def test_a_configured_job_keeps_the_record_of_its_settings():
  job = pax_fiddle.build(Demo.as_config(NUM_EXPERTS=4))
  want = Demo.with_settings(NUM_EXPERTS=4)().job_record()
  assert job.job_record() == want
  assert want['settings'] == {'NUM_EXPERTS': 4}


def test_what_fiddle_changes_in_a_task_is_run():
  config = Demo.as_config()
  config.task.train.num_train_steps = 7
  assert pax_fiddle.build(config).task().train.num_train_steps == 7


def test_fewshot_data_is_one_more_evaluation():
  with_data = dict(FEWSHOT_DATA='fashion_mnist', FEWSHOT_SHOTS=(1,))
  for make in (
      lambda **settings: Demo.with_settings(**settings)(),
      lambda **settings: pax_fiddle.build(Demo.as_config(**settings)),
  ):
    kinds = [type(p) for p in make(**with_data).eval_programs()]
    assert kinds.count(fewshot_program.FewShotProgram) == 1
    assert len(make().eval_programs()) == len(kinds) - 1


def test_training_is_our_own_program():
  (program,) = Demo().train_programs()
  assert isinstance(program, train_program.TrainProgram)
  assert isinstance(Demo().executor(), train_program.Executor)


@pytest.mark.parametrize(
    'given, lacks', [('--a=1', True), ('--b=2 --a=1', False)]
)
def test_flags_that_stored_settings_rely_on_are_missed(
    given, lacks, tmp_path, monkeypatch, caplog
):
  entry = {'settings': {'REMAT': 'full'}}
  entry['environment'] = {'LIBTPU_INIT_ARGS': '--a=1 --b=2'}
  monkeypatch.setattr(stored, 'FOLDER', tmp_path)
  stored.write('SoftMoEFashionMnist', 'v4-8', entry)
  monkeypatch.setenv('LIBTPU_INIT_ARGS', given)
  pax_fiddle.build(Demo.as_config(SLICE='v4-8')).executor()
  found = [line for line in caplog.messages if 'LIBTPU' in line]
  if lacks:
    (line,) = found
    assert line.startswith('LIBTPU_INIT_ARGS lacks --b=2: ')
    assert "SLICE='v4-8'" in line
  else:
    assert not found
  caplog.clear()
  Demo().executor()
  assert not any('LIBTPU' in line for line in caplog.messages)

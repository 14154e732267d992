"""What `softmoe train` gives to paxml.main."""

from pax_softmoe.tools import child
from pax_softmoe.tools import main
from pax_softmoe.training import pax_log


def test_what_follows_two_dashes_is_for_pax(monkeypatch, tmp_path):
  flags = []
  monkeypatch.setattr(
      child, 'run_pax', lambda f, *_: flags.extend(f) or (pax_log.Progress(), 1)
  )
  command = ['train', 'ViTS16', f'--job_dir={tmp_path}', '--', '--mode=x', 'y']
  assert main.main(command) == 1
  assert flags[-2:] == ['--mode=x', 'y']
  assert flags[0] == '--exp=pax_softmoe.experiments.ViTS16'


FINETUNE = 'SoftMoEFashionMnistFinetune'


def test_flag_of_train_is_the_setting(monkeypatch, tmp_path):
  flags = []
  monkeypatch.setattr(
      child, 'run_pax', lambda f, *_: flags.extend(f) or (pax_log.Progress(), 1)
  )
  command = ['train', FINETUNE, '--init_from=/a/b', f'--job_dir={tmp_path}']
  assert main.main(command) == 1
  assert flags[0].endswith(f"{FINETUNE}.as_config(INIT_FROM='/a/b')")

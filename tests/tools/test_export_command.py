"""What `softmoe export` refuses and says."""

from pax_softmoe.tools import main


def test_nothing_is_overwritten(tiny_job, tmp_path, capsys):
  (tmp_path / 'mine').write_text('of somebody')
  assert main.main(['export', str(tiny_job), f'--output={tmp_path}']) == 2
  assert 'is not empty' in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['mine']

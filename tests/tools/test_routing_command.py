"""What `softmoe routing` draws and refuses."""

import json

import checkpoint_files
from pax_softmoe.tools import jobs
from pax_softmoe.tools import main


def test_a_picture_is_drawn_where_it_is_asked_for(tiny_job, tmp_path, capsys):
  output = tmp_path / 'routing.png'
  command = ['routing', str(tiny_job), '--images=2', f'--output={output}']
  assert main.main([*command, '--json']) == 0
  assert json.loads(capsys.readouterr().out)['picture'] == str(output)
  assert output.read_bytes().startswith(b'\x89PNG')


def test_a_dense_model_has_no_slots_to_draw(tmp_path, capsys):
  name = 'ViTFashionMnist'
  of = checkpoint_files.experiment(name)
  checkpoint_files.save_job(tmp_path, of)
  jobs.record(tmp_path, name, checkpoint_files.TINY)
  assert main.main(['routing', str(tmp_path)]) != 0
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith('softmoe: ') and name in line

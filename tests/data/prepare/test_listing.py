"""What `softmoe data` finds in folders and tables, and what it says of the rest."""

import image_folders
from pax_softmoe.data.prepare import listing
from pax_softmoe.tools import main


def test_notes_are_printed_and_kept(tmp_path, capsys):
  image_folders.draw_all(tmp_path / 'in', 'cat/1.png', 'cat/.hidden.png')
  output = tmp_path / 'out'
  assert main.main(['data', str(tmp_path / 'in'), f'--output={output}']) == 0
  note = '1 hidden files or files of a system were left out: cat/.hidden.png'
  assert f'note         {note}' in capsys.readouterr().out.splitlines()
  assert note in (output / 'manifest.json').read_text()


def test_holding_out_all_of_a_class_is_an_error(tmp_path):
  image_folders.draw_all(
      tmp_path, 'cat/1.png', *(f'dog/{i}.png' for i in range(9))
  )
  image_folders.refused(
      lambda: listing.folder(tmp_path, 0.6), 'to train on: cat; .*lower'
  )
  image_folders.refused(
      lambda: listing.folder(tmp_path, 0.01), 'no image in validation'
  )


def test_a_class_whose_images_are_all_bad_is_an_error(tmp_path, capsys):
  image_folders.draw_all(tmp_path / 'in', 'cat/1.png')
  (tmp_path / 'in/dog').mkdir()
  (tmp_path / 'in/dog/1.png').write_bytes(b'no image')
  arguments = ['data', str(tmp_path / 'in'), f'--output={tmp_path / "out"}']
  assert main.main([*arguments, '--skip_bad']) == 1
  assert 'no image to train on: dog;' in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['in']

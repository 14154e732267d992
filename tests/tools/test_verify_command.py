"""The command that tells whether checkpoints are as they were written."""

import json
import pathlib
import shutil
import subprocess
import sys

import checkpoint_files
from pax_softmoe.checkpoints import inspecting
from pax_softmoe.tools import main
import pytest

EXPERTS = 'mdl_vars.params.vit.blocks_1.sub.feed_forward.moe.experts'


@pytest.fixture(name='saved', scope='module')
def _saved(tmp_path_factory):
  job = tmp_path_factory.mktemp('saved') / 'job'
  for step in (7, 9):
    checkpoint_files.save_job(job, checkpoint_files.experiment(), step=step)
  return job


@pytest.fixture(name='job')
def _job(saved, tmp_path):
  return pathlib.Path(shutil.copytree(saved, tmp_path / 'job'))


def verify(capsys, *arguments):
  """Returns the exit code, and what was printed."""
  code = main.main(['verify', *map(str, arguments)])
  out, err = capsys.readouterr()
  return code, (out or err).splitlines()


def of(job, step):
  return pathlib.Path(inspecting.folder_of(job, step))


def size(folder):
  # Newer orbax completes the last one later; it has no checksum.
  files = [
      p
      for p in folder.rglob('*')
      if p.is_file() and p.name != '_CHECKPOINT_METADATA'
  ]
  files = [p for p in files if p.name != 'checksums.json']
  return len(files), sum(p.stat().st_size for p in files)


def test_a_whole_job(job, capsys):
  count, size_bytes = size(of(job, 7))
  assert count > 200
  text = f'whole ({count} files, {size_bytes / 1e6:.1f} MB)'
  assert verify(capsys, job) == (0, [f'step 7: {text}', f'step 9: {text}'])
  assert verify(capsys, job, '--step=7') == (0, [f'step 7: {text}'])
  code, lines = verify(capsys, job, '--json')
  result = json.loads('\n'.join(lines))
  assert code == 0
  assert result['whole'] and not result['unfinished']
  assert [row['bytes'] for row in result['checkpoints']] == [size_bytes] * 2


def test_all_that_is_damaged_is_named_and_nothing_changed(job, capsys):
  (of(job, 7) / f'state/{EXPERTS}.wi/0.0.0.0').unlink()
  path = of(job, 7) / f'state/{EXPERTS}.wo/0.0.0.0'
  path.write_bytes(b'?' + path.read_bytes()[1:])
  (of(job, 7) / 'metadata/metadata').write_text('{}')
  (of(job, 7) / 'notes.txt').touch()
  left = job / 'checkpoints/checkpoint_00000011.orbax-checkpoint-tmp-1764'
  left.mkdir()
  metadata = (of(job, 9) / 'metadata/metadata').stat().st_size
  before = sorted(job.rglob('*'))
  code, lines = verify(capsys, job)
  assert code == 1
  assert lines == [
      (
          f'step 7: metadata/metadata has 2 bytes, {metadata} were written,'
          f' state/{EXPERTS}.wi/0.0.0.0 is missing,'
          f' state/{EXPERTS}.wo/0.0.0.0 is not what was written (another'
          ' checksum); not written with it: notes.txt'
      ),
      f'step 9: whole ({", ".join(whole(job, 9))})',
      f'{left.name}: left by a save that did not end; no part of the job',
  ]
  assert sorted(job.rglob('*')) == before
  assert verify(capsys, job, '--step=9')[0] == 0
  result = json.loads(verify(capsys, job, '--json')[1][0])
  assert not result['whole']
  assert [row['whole'] for row in result['checkpoints']] == [False, True]
  assert len(result['checkpoints'][0]['problems']) == 3
  assert result['checkpoints'][0]['extra'] == ['notes.txt']
  assert result['unfinished'] == [left.name]


def whole(job, step):
  count, size_bytes = size(of(job, step))
  return f'{count} files', f'{size_bytes / 1e6:.1f} MB'


def test_many_damaged_files_are_counted(job, capsys):
  for path in (of(job, 9) / 'state').glob('*/.zarray'):
    path.unlink()
  arrays = len(list((of(job, 9) / 'state').glob('*/')))
  arrays -= (of(job, 9) / 'state/_sharding').is_dir()
  code, lines = verify(capsys, job, '--step=9')
  assert code == 1
  assert len(lines) == 1
  assert lines[0].endswith(f'.zarray is missing and {arrays - 5} more')


def test_without_checksums_it_says_what_was_not_looked_at(job, capsys):
  (of(job, 9) / 'checksums.json').unlink()
  count, _ = size(of(job, 9))
  assert verify(capsys, job, '--step=9') == (
      0,
      [
          f'step 9: no checksums; its {count} files are there and can be read,'
          ' whether their contents are as written cannot be told'
      ],
  )
  (of(job, 9) / f'state/{EXPERTS}.wi/0.0.0.0').write_bytes(b'no zstd')
  code, lines = verify(capsys, job, '--step=9')
  assert (code, lines) == (1, [f'step 9: state/{EXPERTS}.wi cannot be read'])


def test_a_record_that_is_none_is_named(job, capsys):
  (job / 'softmoe.json').write_text('{"experiment": ')
  code, lines = verify(capsys, job)
  assert code == 1
  assert lines[0].startswith(f'{job}/softmoe.json')
  assert lines[1].startswith('step 7: whole')


@pytest.mark.parametrize(
    'make, code, message',
    [
        (
            lambda job: shutil.rmtree(job),
            2,
            'holds no job; give the folder of one',
        ),
        (
            lambda job: shutil.rmtree(job / 'checkpoints'),
            2,
            'holds no job; give the folder of one',
        ),
        (
            lambda job: [shutil.rmtree(of(job, step)) for step in (7, 9)],
            1,
            'holds no finished checkpoint; train first',
        ),
    ],
)
def test_what_is_no_job_or_has_nothing(job, capsys, make, code, message):
  make(job)
  assert verify(capsys, job) == (code, [f'softmoe: {job} {message}'])


def test_a_step_that_there_is_not(job, capsys):
  code, lines = verify(capsys, job, '--step=8')
  assert (code, len(lines)) == (1, 1)
  assert lines[0].endswith('holds no checkpoint of step 8; it has 7, 9')


def test_a_link_to_a_job_and_a_job_elsewhere(job, tmp_path, capsys):
  link = tmp_path / 'link'
  link.symlink_to(job)
  assert verify(capsys, link)[0] == 0
  shutil.move(job, tmp_path / 'moved')
  assert verify(capsys, tmp_path / 'moved')[0] == 0


def test_it_starts_without_pax_and_tensorflow(job):
  code = (
      'import sys; from pax_softmoe.tools import main;'
      f' code = main.main(["verify", {str(job)!r}]);'
      ' print([m for m in ("paxml", "tensorflow", "jax") if m in sys.modules]);'
      ' sys.exit(code)'
  )
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == '[]'

"""Checksums of a checkpoint's files."""

import json
import os
import shutil
import zlib

from pax_softmoe.checkpoints import checksums
import pytest


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """Five files, as a checkpoint has them in its folders."""
  folder = tmp_path / 'checkpoint_00000007'
  for name, content in {
      'metadata/metadata': b'{}',
      'state/step/.zarray': b'',
      # Whose CRC-32 is in the catalogues of such codes, as its check value.
      'state/step/0': b'123456789',
      'state/w/0.0': bytes(range(256)) * 1000,
      'train_input/process_0-of-1': b'PK',
  }.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  return folder


def entries_of(folder):
  entries = checksums.read(folder)
  assert entries is not None
  return entries


def problems(folder):
  entries = entries_of(folder)
  return checksums.problems(folder, list(entries), entries)


def test_sizes_and_checksums_are_those_of_the_files(folder):
  checksums.complete(folder)
  entries = entries_of(folder)
  assert len(entries) == 5
  assert entries['state/step/0'] == (9, 'cbf43926')
  assert entries['state/step/.zarray'] == (0, '00000000')
  assert entries['state/w/0.0'][0] == 256_000
  assert not problems(folder)


def test_shares_of_processes_make_the_same_file(folder):
  checksums.complete(folder)
  whole = (folder / checksums.NAME).read_bytes()
  (folder / checksums.NAME).unlink()
  for i in range(3):
    checksums.share(folder, i, 3)
  assert len(list(folder.glob('checksums.*-of-3.json'))) == 3
  checksums.complete(folder)
  assert (folder / checksums.NAME).read_bytes() == whole
  assert not list(folder.glob('checksums.*-of-*'))


def test_what_a_share_does_not_have_is_made_in_the_end(folder):
  checksums.share(folder, 0, 2)
  checksums.complete(folder)
  assert len(entries_of(folder)) == 5


def test_marks_of_orbax_are_no_part_of_it(folder):
  (folder / 'commit_success.txt').touch()
  (folder / 'state/commit_success.txt').touch()
  (folder / 'LOCKED').mkdir()
  checksums.complete(folder)
  assert len(entries_of(folder)) == 5


def flip(path, at=0):
  content = bytearray(path.read_bytes())
  content[at] ^= 1
  path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    'damage, expected',
    [
        (lambda f: f.unlink(), 'state/w/0.0 is missing'),
        (
            lambda f: flip(f, 200_000),
            'state/w/0.0 is not what was written (another checksum)',
        ),
        (
            lambda f: f.write_bytes(b'12'),
            'state/w/0.0 has 2 bytes, 256000 were written',
        ),
        (
            lambda f: (f.unlink(), f.mkdir()),
            'state/w/0.0 cannot be read (Is a directory)',
        ),
    ],
)
def test_a_file_that_changed_is_named(folder, damage, expected):
  checksums.complete(folder)
  damage(folder / 'state/w/0.0')
  flip(folder / 'state/step/0')
  assert problems(folder) == [
      'state/step/0 is not what was written (another checksum)',
      expected,
  ]


@pytest.mark.parametrize(
    'text, expected',
    [
        ('', 'checksums.json is damaged'),
        ('[]', 'checksums.json is damaged'),
        ('{"crc32": {"state/step/0": 9}}', 'checksums.json is damaged'),
        ('{"crc32": {}}', 'checksums.json is damaged: it lists no arrays'),
        (
            '{"crc32": {"../state/0": [1, "00000000"]}}',
            "checksums.json is damaged: it lists '../state/0'",
        ),
        (
            '{"crc32": {"/etc/hosts": [1, "00000000"]}}',
            "checksums.json is damaged: it lists '/etc/hosts'",
        ),
    ],
)
def test_a_file_of_checksums_that_is_none(folder, text, expected):
  (folder / checksums.NAME).write_text(text)
  with pytest.raises(checksums.DamageError) as raised:
    checksums.read(folder)
  assert str(raised.value) == expected


def test_a_truncated_file_of_checksums(folder):
  checksums.complete(folder)
  path = folder / checksums.NAME
  path.write_text(path.read_text()[:-30])
  with pytest.raises(checksums.DamageError, match='checksums.json is damaged'):
    checksums.read(folder)


def test_a_folder_copied_elsewhere_is_as_good(folder, tmp_path):
  checksums.complete(folder)
  copy = tmp_path / 'elsewhere'
  shutil.copytree(folder, copy)
  assert not problems(copy)


def test_links_to_files_are_followed_and_links_back_are_not(folder, tmp_path):
  kept = tmp_path / 'kept'
  os.rename(folder / 'state/w/0.0', kept)
  (folder / 'state/w/0.0').symlink_to(kept)
  (folder / 'state/back').symlink_to(folder)
  checksums.complete(folder)
  crc = f'{zlib.crc32(bytes(range(256)) * 1000):08x}'
  assert entries_of(folder)['state/w/0.0'] == (256_000, crc)


def test_the_file_is_json_with_one_line_a_file(folder):
  checksums.complete(folder)
  text = (folder / checksums.NAME).read_text()
  assert json.loads(text)['crc32']['state/step/0'] == [9, 'cbf43926']
  assert '\n"state/step/0": [9, "cbf43926"],\n' in text

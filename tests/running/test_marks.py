"""Lines by which a job says how it is."""

from pax_softmoe.running import marks
import pytest


@pytest.mark.parametrize('kind', ['phase', 'began', 'ended'])
def test_what_is_written_is_read(kind, capsys):
  marks.write(kind, 'stopped by SIGTERM\nat step 4')
  (line,) = capsys.readouterr().err.splitlines()
  assert marks.read(line) == (kind, 'stopped by SIGTERM at step 4')


@pytest.mark.parametrize(
    'line', ['softmoe: other: x', 'x softmoe: phase: y', 'I1126 a log line']
)
def test_other_lines_are_none(line):
  assert marks.read(line) is None


class Full:

  def write(self, text):
    raise OSError(28, 'No space left on device')


def test_a_full_disk_ends_no_job(monkeypatch):
  monkeypatch.setattr(marks.sys, 'stderr', Full())
  marks.write('phase', 'restoring')

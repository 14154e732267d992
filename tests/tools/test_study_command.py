"""What `softmoe study` refuses before it trains anything."""

from pax_softmoe.tools import main
import pytest


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--set=NUM_EXPERT=4'], 'NUM_EXPERT'),
        (['--set=NUM_EXPERTS=0'], 'NUM_EXPERTS is 0'),
    ],
)
def test_settings_are_refused_by_name(arguments, message, tmp_path, capsys):
  assert main.main(['study', f'--output={tmp_path / "o"}', *arguments]) != 0
  (line,) = [
      l for l in capsys.readouterr().err.splitlines() if l.startswith('softmoe')
  ]
  assert message in line

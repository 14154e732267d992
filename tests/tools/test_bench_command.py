"""What `softmoe bench` refuses."""

from pax_softmoe.tools import main
import pytest


@pytest.mark.parametrize(
    'arguments, code, message',
    [
        (
            ['--rounds=0'],
            2,
            "--rounds: got '0'; give a whole number of 1 or more",
        ),
        (['--batch=0'], 2, "got '0'; give a whole number of 1 or more"),
        (['--parts=other'], 2, 'invalid choice'),
        (['--tokens=5'], 1, '5 tokens are no square of patches'),
    ],
)
def test_bad_sizes_are_refused(arguments, code, message, capsys):
  assert main.main(['bench', *arguments]) == code
  assert message in capsys.readouterr().err

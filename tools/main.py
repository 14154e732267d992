"""The `softmoe` command.

Subcommands are imported only when they are called: `softmoe --help` must not
wait for PaxML, and most need neither TensorFlow nor devices.
"""

import argparse
from collections.abc import Sequence
import importlib
import os
import signal
import sys
from typing import Any

from pax_softmoe.running import claim
from pax_softmoe.running import ending
from pax_softmoe.running import parent

# Name to what it does; each is a module beside this one with `add_arguments`
# and `run`.
COMMANDS = {
    'list': 'show all experiments',
    'describe': 'show one experiment: settings, sizes, where arrays live',
    'train': 'train an experiment, with a progress bar',
    'data': 'write images as TFRecords, to train on',
    'verify': 'tell whether the checkpoints of a job are damaged',
    'evaluate': 'evaluate the last checkpoint of a job',
    'study': 'train every router on the same images and compare them',
    'bench': 'measure the speed of every router',
    'tune': 'find mesh and sharding for a TPU slice, without a TPU',
    'launch': 'write scripts that train on slices of Google Cloud',
    'import': 'make a checkpoint of the weights of another model',
    'fewshot': 'evaluate features by few-shot linear regression',
    'predict': 'predict the classes of image files',
    'export': 'write a TensorFlow SavedModel and a file of weights',
    'routing': 'draw what each slot of a trained model looks at',
}

_TRACEBACK = 'SOFTMOE_TRACEBACK'


class UsageError(Exception):
  """The command line asks for something that cannot be done as asked."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one subcommand.

  Args:
    argv: the command line after `softmoe`; None for that of the process.

  Returns:
    0, 1 if it failed, or 2 if the command line was wrong.
  """
  parent.watch()
  sys.unraisablehook = _unraisable
  # An exit, unlike death by a signal, ends the children too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    code = _run(sys.argv[1:] if argv is None else list(argv))
    sys.stdout.flush()
    return code
  except KeyboardInterrupt as error:
    return _say(str(error) or 'stopped', 128 + signal.SIGINT)
  except BrokenPipeError:
    # Whoever read the output has seen enough; Python would complain at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
  except Exception as error:
    if os.environ.get(_TRACEBACK):
      raise
    # Fiddle adds to errors, in further lines, what it was building.
    text = ending.first_line(error)
    if isinstance(error, UsageError):
      return _say(text, 2)
    if isinstance(error, (ValueError, OSError, claim.HeldError)) and text:
      return _say(text, 1)
    kind = type(error).__name__
    more = f'{_TRACEBACK}=1 in the environment shows where'
    return _say(f'{kind}: {text}; {more}' if text else f'{kind}; {more}', 1)


def _run(argv: list[str]) -> int:
  """Runs the command that the first word names, and imports no other."""
  # Only the name of the command: what follows is the command's own.
  asked = _commands().parse_args(argv[:1])
  module = importlib.import_module(f'pax_softmoe.tools.{asked.command}_command')
  parser = _Parser(
      prog=f'softmoe {asked.command}',
      description=module.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  module.add_arguments(parser)
  return module.run(_parse(parser, module, argv[1:]))


def _unraisable(dropped: Any) -> None:
  """Ends the process if Ctrl-C came where Python cannot raise."""
  if isinstance(dropped.exc_value, KeyboardInterrupt):
    os._exit(_say('stopped', 128 + signal.SIGINT))
  sys.__unraisablehook__(dropped)


def _parse(
    parser: argparse.ArgumentParser, module: Any, words: list[str]
) -> argparse.Namespace:
  """Returns the arguments of a command."""
  end = len(words)
  if getattr(module, 'TAKES_PAX_FLAGS', False) and '--' in words:
    end = words.index('--')
  arguments = parser.parse_args(words[:end])
  arguments.pax_flags = words[end + 1 :]
  return arguments


class _Parser(argparse.ArgumentParser):
  """Says in one line what is wrong."""

  def error(self, message: str) -> None:
    raise UsageError(f'{message}; see {self.prog} --help')


def _commands() -> argparse.ArgumentParser:
  commands = '\n'.join(f'  {k:10} {v}' for k, v in COMMANDS.items())
  parser = _Parser(
      prog='softmoe',
      usage='softmoe COMMAND …',
      description='Soft Mixture-of-Experts for PaxML.',
      epilog=f'commands:\n{commands}\n\n`softmoe COMMAND --help` tells more.',
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('command', choices=COMMANDS, metavar='COMMAND')
  return parser


def _say(text: str, code: int) -> int:
  """Prints why a command ends, and returns its exit code."""
  try:
    print(f'softmoe: {text}', file=sys.stderr)
  except OSError:
    pass  # The terminal is gone.
  return code

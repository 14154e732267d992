"""The `softmoe` command.

Subcommands are imported only when they are called: `softmoe --help` must not
wait for PaxML, and most need neither TensorFlow nor devices.
"""

import argparse
from collections.abc import Sequence
import importlib
import signal
import sys

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


class UsageError(Exception):
  """The command line asks for something that cannot be done as asked."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one subcommand.

  Args:
    argv: the command line after `softmoe`; None for that of the process.

  Returns:
    0, 1 if it failed, or 2 if the command line was wrong.
  """
  commands = '\n'.join(f'  {k:10} {v}' for k, v in COMMANDS.items())
  parser = argparse.ArgumentParser(
      prog='softmoe',
      usage='softmoe COMMAND …',
      description='Soft Mixture-of-Experts for PaxML.',
      epilog=f'commands:\n{commands}\n\n`softmoe COMMAND --help` tells more.',
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('command', choices=COMMANDS, metavar='COMMAND')
  parser.add_argument('rest', nargs=argparse.REMAINDER, metavar='…')
  asked = parser.parse_args(argv)
  # Only the command asked for is imported.
  module = importlib.import_module(f'pax_softmoe.tools.{asked.command}_command')
  parser = argparse.ArgumentParser(
      prog=f'softmoe {asked.command}',
      description=module.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  module.add_arguments(parser)
  arguments = parser.parse_args(asked.rest)
  # An exit, unlike death by a signal, ends the children too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    return module.run(arguments)
  except (UsageError, ValueError, OSError) as error:
    # Fiddle adds to errors, in further lines, what it was building.
    print(f'softmoe: {str(error).splitlines()[0]}', file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1

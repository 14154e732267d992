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
    'evaluate': 'evaluate the last checkpoint of a job',
    'study': 'train every router on the same images and compare them',
    'bench': 'measure the speed of every router',
    'tune': 'find mesh and sharding for a TPU slice, without a TPU',
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
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = argparse.ArgumentParser(
      prog='softmoe',
      description='Soft Mixture-of-Experts for PaxML.',
      epilog='softmoe COMMAND --help tells more of each command.',
  )
  subparsers = parser.add_subparsers(metavar='COMMAND', required=True)
  for name, summary in COMMANDS.items():
    # Only the command asked for needs its arguments.
    is_asked = name == next((a for a in argv if not a.startswith('-')), None)
    module = (
        importlib.import_module(f'pax_softmoe.tools.{name}_command')
        if is_asked
        else None
    )
    subparser = subparsers.add_parser(
        name,
        help=summary,
        description=module and module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if module:
      module.add_arguments(subparser)
      subparser.set_defaults(run=module.run)
  arguments = parser.parse_args(argv)
  # An exit, unlike death by a signal, ends the children too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    return arguments.run(arguments)
  except (UsageError, ValueError, OSError) as error:
    # Fiddle adds to errors, in further lines, what it was building.
    print(f'softmoe: {str(error).splitlines()[0]}', file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1

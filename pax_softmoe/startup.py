"""Makes Pax importable on newer jax, whoever imports it first.

Importing `pax_softmoe` watches for the import of praxis or paxml, and calls
`compat.restore` just before. On a jax that has all names, that changes nothing.

`python -m paxml.main` imports paxml before anything of this package. So the
package installs a file `pax_softmoe.pth`, which Python runs as it starts, and
which imports `pax_softmoe`, and with it this module and no other.
PAX_SOFTMOE_STARTUP=0 in the environment switches that off.
"""

import sys

_PACKAGES = ('praxis', 'paxml')


class Watch:
  """Finds no module, but is asked for each that is imported."""

  @classmethod
  def find_spec(cls, name, path=None, target=None):
    """Restores names that Pax needs before it is imported; finds nothing."""
    del path, target
    if name in _PACKAGES and cls in sys.meta_path:
      sys.meta_path.remove(cls)
      from pax_softmoe import compat

      compat.restore()


def install() -> None:
  """Begins to watch, unless Pax is imported already."""
  if Watch not in sys.meta_path and not any(
      p in sys.modules for p in _PACKAGES
  ):
    sys.meta_path.insert(0, Watch)

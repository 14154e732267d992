"""Puts pax_softmoe.pth beside the packages; all else is in setup.cfg.

Python reads such files as it starts, see pax_softmoe/startup.py. setuptools has no
setting for a file at the top of a wheel.
"""

import pathlib
import shutil
from typing import Any

import setuptools
from setuptools.command import build_py
from setuptools.command import editable_wheel

_PTH = pathlib.Path(__file__).with_name('pax_softmoe.pth')


class BuildPy(build_py.build_py):
  """Copies the file into wheels."""

  def run(self) -> None:
    super().run()
    if not self.editable_mode:
      shutil.copy(_PTH, self.build_lib)

  def get_outputs(self, *args: Any, **kwargs: Any) -> list[str]:
    found = super().get_outputs(*args, **kwargs)
    return [*found, str(pathlib.Path(self.build_lib) / _PTH.name)]


class EditableWheel(editable_wheel.editable_wheel):
  """Writes the file into wheels that only point to a checkout."""

  def _select_strategy(self, *args: Any, **kwargs: Any) -> Any:
    strategy = super()._select_strategy(*args, **kwargs)
    return _WithFile(strategy)


class _WithFile:
  """What setuptools does with an editable wheel, and one file more."""

  def __init__(self, strategy: Any):
    self._strategy = strategy

  def __enter__(self) -> '_WithFile':
    self._strategy.__enter__()
    return self

  def __exit__(self, *args: Any) -> Any:
    return self._strategy.__exit__(*args)

  def __call__(self, wheel: Any, files: Any, mapping: Any) -> None:
    self._strategy(wheel, files, mapping)
    wheel.writestr(_PTH.name, _PTH.read_text())


setuptools.setup(
    cmdclass={'build_py': BuildPy, 'editable_wheel': EditableWheel}
)

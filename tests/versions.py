"""What only tests use and versions of jax have by other names."""

import importlib

import jax


def enable_x64():
  """Returns a context in which arrays may be float64."""
  # A name of jax itself since 0.8; the older one is gone since 0.10.0.
  if hasattr(jax, 'enable_x64'):
    return jax.enable_x64(True)
  return jax.experimental.enable_x64()


def hlo_module_from_text(text: str):
  """Returns what XLA's own parser makes of a program's text."""
  for name in ('_hlo', 'xla_extension'):
    try:
      return importlib.import_module(f'jaxlib.{name}').hlo_module_from_text(
          text
      )
    except ModuleNotFoundError:
      continue
  raise ImportError('this jaxlib has no parser of programs')

"""All that `softmoe describe` says of an experiment, by computing it."""

from collections.abc import Iterable
import inspect
from typing import Any

from pax_softmoe.experiments import settings
from pax_softmoe.experiments import stored
from pax_softmoe.model_size import counts
from pax_softmoe.model_size import placement

_EXPERIMENTS = 'pax_softmoe.experiments.'


def describe(cls: Any, given: Iterable[str] = ()) -> dict[str, Any]:
  """Returns what an experiment is, where its arrays live, and its settings.

  Args:
    cls: a subclass of `base.ImageClassification`.
    given: names of settings that `with_settings` changed last.

  Returns:
    What JSON can hold.

  Raises:
    ValueError: the settings do not fit together.
  """
  experiment = cls()
  experiment.check_settings()
  weights = placement.weights(experiment)
  activations = placement.activations(experiment)
  slices = experiment.SLICE
  found = {
      **counts.describe(experiment),
      'mesh': list(experiment.mesh_shape()),
      'sharding': experiment.SHARDING,
      'sharding_overrides': settings.plain(experiment.SHARDING_OVERRIDES),
      'about': inspect.cleandoc(cls.__doc__ or '').partition('\n\n')[0],
  }
  # Another model has none; nor are those of a base of this experiment.
  leaf: type = cls.__mro__[1] if given else cls
  published = vars(leaf).get('published')
  if published and set(given) <= {'SLICE'}:
    found['published'] = {
        'results': published.by_label(),
        'table': published.table,
        'days': published.days,
    }
  if slices:
    found['stored'] = stored.find(cls, slices)
  return {
      **found,
      'settings': _settings(cls, set(given)),
      'weights': [array.as_dict() for array in weights],
      'activations': [array.as_dict() for array in activations],
  }


def _settings(cls: type, given: set[str]) -> dict[str, dict[str, Any]]:
  """Returns all settings by name, those of one owner together."""
  return {
      name: {
          'value': settings.plain(getattr(cls, name)),
          'default': settings.plain(of.default),
          'set_by': '--set' if name in given else _set_by(cls, of),
          'takes': of.takes,
          'meaning': of.meaning,
          'kept': of.kept,
          'group': (
              (of.owner.__doc__ or _label(of.owner)).splitlines()[0].rstrip('.')
          ),
      }
      for name, of in settings.declared(cls).items()
  }


def _set_by(cls: type, of: settings.Declaration) -> str | None:
  """Returns which class gives a setting its value; None if its owner does."""
  base = next(b for b in cls.__mro__ if of.name in vars(b))
  if base is of.owner:
    return None
  above = base.__mro__[1]
  if (base.__module__, base.__name__) == (above.__module__, above.__name__):
    # Made by `with_settings`; what it was not given, it has from a slice.
    return f'SLICE={cls.SLICE}'
  return _label(base)


def _label(cls: type) -> str:
  return f'{cls.__module__}.{cls.__name__}'.removeprefix(_EXPERIMENTS)

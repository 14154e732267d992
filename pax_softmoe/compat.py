"""What paxml 1.4.0 needs from newer libraries than it was written for."""

import numpy as np


def restore_numpy_names() -> None:
  """Gives NumPy 2 back a name that paxml's evaluation loop reads."""
  if not hasattr(np, 'unicode_'):
    np.unicode_ = np.str_

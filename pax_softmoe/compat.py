"""What paxml 1.4.0 needs from newer libraries than it was written for.

Importing this module makes it so; experiments do.
"""

import numpy as np

# paxml's evaluation loop reads this name, which NumPy 2 dropped.
if not hasattr(np, 'unicode_'):
  np.unicode_ = np.str_

"""Runs `softmoe` as `python -m pax_softmoe.tools`."""

import sys

from pax_softmoe.tools import main

sys.exit(main.main())

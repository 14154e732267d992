"""Soft Mixture-of-Experts for PaxML.

Importing this package loads neither JAX devices, PaxML nor TensorFlow; the
modules below it do, each what it needs.
"""

from pax_softmoe import startup

__version__ = '0.1.0'

startup.install()

"""Soft Mixture-of-Experts for PaxML.

Importing this package loads neither JAX devices, PaxML nor TensorFlow; the
modules below it do, each what it needs.
"""

__version__ = '0.1.0'

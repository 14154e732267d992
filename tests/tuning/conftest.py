"""What tests of the tuner share."""

from pax_softmoe import experiments
from pax_softmoe.tuning import arithmetic
import pytest


@pytest.fixture(scope='session')
def flagship():
  return arithmetic.Model(experiments.SoftMoEH14)

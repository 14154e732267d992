from pax_softmoe.layers import initializers
import pytest
from scipy import stats


@pytest.mark.parametrize('fan_in', [1, 49, 4096])
def test_lecun_normal_keeps_its_standard_deviation(fan_in):
  init = initializers.lecun_normal(fan_in)
  assert init.method == 'truncated_gaussian'
  # Praxis cuts a standard normal off at two and multiplies it.
  got = init.scale * stats.truncnorm.std(-2, 2)
  assert got == pytest.approx(fan_in**-0.5, rel=1e-12)


@pytest.mark.parametrize('fan_in, fan_out', [(3, 5), (768, 3072)])
def test_xavier_uniform_has_its_variance(fan_in, fan_out):
  init = initializers.xavier_uniform(fan_in, fan_out)
  assert init.method == 'uniform'
  variance = stats.uniform(-init.scale, 2 * init.scale).var()
  assert variance == pytest.approx(2 / (fan_in + fan_out), rel=1e-12)

"""Real train steps compiled in a child process, and what can go wrong."""

from pax_softmoe.tpu import flags
from pax_softmoe.tpu import libtpu
from pax_softmoe.tuning import child
from pax_softmoe.tuning import compile_step
import pytest
from sweep_results import REQUEST

# Two layers with experts: two exchanges each way, and two done again.
ALL_TO_ALLS = 2 * 6
# 16 images, 16 slots, 128 dims, float32.
ALL_TO_ALL_GB = ALL_TO_ALLS * 16 * 16 * 128 * 4 / 1e9


def test_without_libtpu_the_cpu_tells_what_is_exchanged(tmp_path):
  got = child.compile_step(REQUEST, tmp_path / 'result.json', 300)
  assert got['status'] == 'ok', got
  exchanged = got['collectives']['all-to-all']
  assert exchanged['count'] == ALL_TO_ALLS
  assert exchanged['gb'] == pytest.approx(ALL_TO_ALL_GB)
  assert got['exchange_ms'] > 0
  assert 'hbm_gib' not in got and 'compute_ms' not in got
  assert 'exposed_ms' not in got


@pytest.fixture(name='for_tpu')
def _for_tpu(tmp_path):
  """Compiles for four chips of a TPU v4."""
  try:
    libtpu.path()
  except RuntimeError as error:
    pytest.skip(str(error))

  def compiled(compiler_flags, effort):
    flags_of_libtpu = flags.text(compiler_flags)
    request = dict(target='tpu', effort=effort, flags=flags_of_libtpu)
    got = child.compile_step(REQUEST | request, tmp_path / 'result.json', 300)
    assert got['status'] == 'ok', got
    return got

  return compiled


@pytest.mark.libtpu
def test_step_for_four_tpus(for_tpu):
  got = for_tpu('none', 'low')
  assert got['collectives']['all-to-all'] == {
      'count': ALL_TO_ALLS,
      'gb': pytest.approx(ALL_TO_ALL_GB),
  }
  assert 0 < got['argument_gib'] < got['hbm_gib'] < 1
  assert got['compute_ms'] > 0 and got['matmul_flops'] > 0
  assert any('attention' in row['layer'] for row in got['top']['layers'])
  # Nothing is asynchronous.
  assert got['exposed_ms'] == pytest.approx(got['exchange_ms'])


@pytest.mark.libtpu
def test_flags_hide_exchanges(for_tpu):
  got = for_tpu('overlap', 'full')
  assert 0 < got['exposed_ms'] < 0.9 * got['exchange_ms']
  rows = got['top']['collectives']
  assert sum(r['exposed_ms'] for r in rows) <= got['exposed_ms'] * 1.001


@pytest.mark.parametrize(
    'source, want',
    [
        ('/a/b/pax_softmoe/layers/vit.py:3', 'pax_softmoe/layers/vit.py:3'),
        ('/a/lib/site-packages/praxis/x.py:3', 'praxis/x.py:3'),
        ('', ''),
    ],
)
def test_source_lines_have_no_folders_of_this_machine(source, want):
  assert compile_step._short(source) == want

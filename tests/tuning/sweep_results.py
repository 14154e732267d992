"""A pretended sweep, for tests of what is made of its result."""

from pax_softmoe.tuning import arithmetic
from pax_softmoe.tuning import report
from pax_softmoe.tuning import space
from pax_softmoe.tuning import trials as trials_lib

EXCHANGED = {'all-to-all': {'count': 4, 'gb': 0.5}}
# What DESIGN fixes for other programs.
KEYS = {
    'mesh',
    'preset',
    'remat',
    'images_per_chip',
    'effort',
    'fits',
    'hbm_gib',
    'collectives',
    'compute_ms',
    'communication_ms',
    'step_ms',
    'mfu',
}


class FakeModel:
  """Half a GiB an image, 8 GiB more with remat 'none'."""

  forward_flops = 275e9

  def dcn_seconds(self, slices, chips):
    return 0.001 * slices * chips

  def estimate(self, slice_name, point):
    del slice_name
    gib = {
        'weights': 8.0,
        'kept': point.images_per_chip / 2 + 8 * (point.remat == 'none'),
    }
    return arithmetic.Estimate(gib, [], 100.0, 10.0)


def results(slices='v4-8'):
  """Returns a sweep with a finalist, one screened and one out of memory."""
  model = FakeModel()
  trials = []
  for remat, images in (('full', 16), ('exchange', 16), ('none', 48)):
    point = space.Point((1, 1, 4, 1), 'expert_parallel', remat, images)
    trials.append(trials_lib.Trial(point, model.estimate('v4-8', point)))
  ok = {'status': 'ok', 'target': 'tpu', 'hbm_gib': 16.0}
  ok.update(excess_gib=0.0, collectives=EXCHANGED, communication_ms=20.0)
  ok.update(communication_by_kind={'all-to-all': 20.0}, top={})
  trials[0].low = ok
  trials[0].full = ok | {'compute_ms': 80.0}
  trials[1].low = ok | {'compute_ms': 240.0}
  trials[2].low = {
      'status': 'out of memory',
      'target': 'tpu',
      'hbm_gib': 40.0,
      'excess_gib': 9.25,
  }
  return report.report(model, 'E', slices, trials, {'SCAN_LAYERS': False})

"""Pretended sweeps and their points, for tests of what is made of them."""

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
    'exchange_ms',
    'exposed_ms',
    'step_ms',
    'mfu',
}
# A train step for a child to compile.
REQUEST = {
    'experiment': 'SoftMoEFashionMnist',
    'settings': {
        'ICI_MESH_SHAPE': (1, 1, 4, 1),
        'TRAIN_BATCH_SIZE': 64,
        'EVAL_BATCH_SIZE': 64,
        'NUM_LAYERS': 4,
        'REMAT': 'full',
        'FIRST_MOMENT_DTYPE': 'bfloat16',
    },
    'slice': 'v4-8',
    'effort': 'low',
    'flags': '',
    'target': 'cpu',
}


class FakeModel:
  """Half a GiB an image, 8 GiB more with remat 'none'."""

  forward_flops = 275e9

  def dcn_seconds(self, slices, tpu_slice):
    return 0.001 * slices * tpu_slice.devices

  def estimate(self, slice_name, point):
    del slice_name
    gib = {
        'weights': 8.0,
        'kept': point.images_per_chip / 2 + 8 * (point.remat == 'none'),
    }
    return arithmetic.Estimate(gib, [], 100.0, 10.0, 30.75)


def results(slices='v4-8'):
  """Returns a sweep with a finalist, one screened and one out of memory."""
  model = FakeModel()
  trials = []
  for remat, images in (('full', 16), ('exchange', 16), ('none', 48)):
    point = space.Point((1, 1, 4, 1), 'expert_parallel', remat, images)
    trials.append(trials_lib.Trial(point, model.estimate('v4-8', point)))
  ok = {'status': 'ok', 'target': 'tpu', 'hbm_gib': 16.0}
  ok.update(excess_gib=0.0, collectives=EXCHANGED, exchange_ms=25.0)
  ok.update(exposed_ms=20.0)
  ok.update(exchange_by_kind={'all-to-all': 25.0}, top={})
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


def estimate_at(
    model,
    mesh=(1, 1, 64, 1),
    preset='expert_parallel',
    remat='full',
    images=16,
    first_moment=None,
):
  """Returns what arithmetic says of a point on a v4-128."""
  point = space.Point(mesh, preset, remat, images, first_moment)
  return model.estimate('v4-128', point)


def trial(mesh=(1, 1, 4, 1), remat='full', images=16, gib=10.0, ms=100.0):
  """Returns a point of which arithmetic says that."""
  return trials_lib.Trial(
      space.Point(mesh, 'expert_parallel', remat, images),
      arithmetic.Estimate({'weights': gib}, [], ms, 0.0, 30.75),
  )

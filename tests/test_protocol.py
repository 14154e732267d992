"""Every experiment is what the rooms below ask of one."""

from pax_softmoe import experiments
from pax_softmoe import protocol
from pax_softmoe.tools import jobs
import pytest

MEMBERS = [
    name
    for name in (
        *vars(protocol.Experiment),
        *protocol.Experiment.__annotations__,
    )
    if not name.startswith('_')
]


def test_it_has_settings_and_methods():
  assert {'IMAGE_SIZE', 'group_size', 'model'} <= set(MEMBERS)


@pytest.mark.parametrize('name', jobs.registered())
def test_registered_experiments_have_all_of_it(name):
  experiment = getattr(experiments, name)()
  missing = [member for member in MEMBERS if not hasattr(experiment, member)]
  assert not missing

"""Schedules whose times are counted by hand: a cycle is a second here."""

import hlo_text
from pax_softmoe.hlo import schedule
import pytest

ADD = """
%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}
"""
# Eight devices exchange in fours; an array of 10 numbers takes 10 seconds.
TEN = 'f32[10]'
GROUPS = 'replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add'
PAIRS = 'replica_groups={{0,4},{1,5},{2,6},{3,7}}, to_apply=%add'


def compute(name, operand, cycles):
  config = f'{{"estimated_cycles":"{cycles}"}}'.replace('"', r'\"')
  return f'%{name} = f32[10] negate({operand}), backend_config="{config}"\n  '


def walk(lines, before='', **kwargs):
  header = 'HloModule m, is_scheduled=true, num_partitions=8\n'
  text = f"""{header}{ADD}{before}
ENTRY %main (p: {TEN}) -> {TEN} {{
  %p = {TEN} parameter(0)
  {lines}
}}
"""
  return schedule.walk(hlo_text.read(text), 1.0, takes, **kwargs)


def takes(sent):
  """Fours are linked by x, pairs by y: a second for each number."""
  link = {4: 'x', 2: 'y'}[sent.group_size]
  return schedule.Exchange(sent.bytes / 4, {link})


def start(name, operand, groups=GROUPS):
  return f'%{name} = {TEN} all-reduce-start({operand}), {groups}\n  '


def done(name, operand, root=''):
  return f'{root}%{name} = {TEN} all-reduce-done({operand})\n  '


def test_a_synchronous_exchange_is_exposed_in_whole():
  got = walk(
      compute('a', '%p', 5)
      + f'%b = {TEN} all-reduce(%a), {GROUPS}\n  ROOT '
      + compute('c', '%b', 7)
  )
  assert got.compute_seconds == 12
  assert got.exposed_seconds == 10


@pytest.mark.parametrize('cycles, exposed', [(0, 10), (7, 3), (10, 0), (25, 0)])
def test_what_is_computed_meanwhile_hides_an_exchange(cycles, exposed):
  got = walk(
      start('s', '%p') + compute('a', '%p', cycles) + done('d', '%s', 'ROOT ')
  )
  assert got.compute_seconds == cycles
  assert got.exposed_seconds == exposed
  (wait,) = got.waits
  assert wait.collective.kind == 'all-reduce'
  assert wait.seconds == exposed


@pytest.mark.parametrize('groups, exposed', [(GROUPS, 16), (PAIRS, 6)])
def test_exchanges_wait_for_each_other_where_they_share_a_link(groups, exposed):
  # Both start at 0; the first ends at 10, the second at 20 or at 10.
  got = walk(
      start('s', '%p')
      + start('t', '%p', groups)
      + compute('a', '%p', 4)
      + done('d', '%s')
      + done('e', '%t', 'ROOT ')
  )
  assert got.exposed_seconds == exposed


def test_a_synchronous_exchange_waits_for_the_links():
  # It can begin at 10 and ends at 20, when the first has long ended.
  got = walk(
      start('s', '%p')
      + compute('a', '%p', 3)
      + f'%now = {TEN} all-reduce(%a), {GROUPS}\n  '
      + done('d', '%s', 'ROOT ')
  )
  assert {w.collective.name: w.seconds for w in got.waits} == {
      'now': 17,
      's': 0,
  }


def test_all_to_all_in_an_async_computation():
  inner = """
%inner (q: f32[40]) -> f32[40] {
  %q = f32[40] parameter(0)
  ROOT %x = f32[40] all-to-all(%q), dimensions={0}, replica_groups={{0,1,2,3},{4,5,6,7}}
}
"""
  got = walk(
      '%q = f32[40] broadcast(%p), dimensions={}\n  '
      '%s = ((f32[40]), f32[40], u32[]) async-start(%q), calls=%inner\n  '
      + compute('a', '%p', 30)
      + '%d = f32[40] async-done(%s), calls=%inner\n  ROOT '
      + compute('b', '%a', 2),
      inner,
  )
  assert got.compute_seconds == 32
  assert got.exposed_seconds == 10


def loop(body_lines, turns):
  return f"""
%body (s: (s32[], {TEN})) -> (s32[], {TEN}) {{
  %s = (s32[], {TEN}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = {TEN} get-tuple-element(%s), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  {body_lines}
  ROOT %t = (s32[], {TEN}) tuple(%next, %y)
}}
%condition (s: (s32[], {TEN})) -> pred[] {{
  %s = (s32[], {TEN}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %n = s32[] constant({turns})
  ROOT %less = pred[] compare(%i, %n), direction=LT
}}
"""


RUN_LOOP = (
    f'%zero = s32[] constant(0)\n  %in = (s32[], {TEN}) tuple(%zero, %p)\n  '
    f'%out = (s32[], {TEN}) while(%in), condition=%condition, body=%body\n  '
)


@pytest.mark.parametrize('turns', [0, 1, 2, 3, 50])
def test_a_loop_counts_as_often_as_it_turns(turns):
  body = start('b', '%x') + compute('c', '%x', 6) + done('y', '%b')
  root = f'ROOT %r = {TEN} get-tuple-element(%out), index=1'
  got = walk(RUN_LOOP + root, loop(body, turns))
  assert got.compute_seconds == pytest.approx(6 * turns)
  assert got.exposed_seconds == pytest.approx(4 * turns)


def test_what_a_loop_finds_on_the_links_it_waits_for_once():
  # At 0 the link is busy for 10 with what is waited for at the end. The first
  # turn ends at 20, each further one takes 10.
  body = f'%y = {TEN} all-reduce(%x), {GROUPS}'
  got = walk(
      start('s', '%p') + RUN_LOOP + done('d', '%s', 'ROOT '), loop(body, 9)
  )
  assert got.compute_seconds == 0
  assert got.exposed_seconds == pytest.approx(20 + 8 * 10)


def test_a_wait_for_what_was_not_started_is_refused():
  with pytest.raises(ValueError, match='wait for p, .* no start but parameter'):
    walk(f'ROOT %d = {TEN} all-reduce-done(%p)')


STAGES = """
%first (q: f32[10]) -> (f32[10], f32[10]) {
  %q = f32[10] parameter(0)
  %g = f32[40] all-gather(%q), channel_id=5, dimensions={0}, replica_groups={{0,1,2,3},{4,5,6,7}}, use_global_device_ids=true
  ROOT %c = (f32[10], f32[40]) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}
%middle (q: f32[10]) -> (f32[10], f32[40]) {
  %q = f32[10] parameter(0)
  %g = f32[40] all-gather(%q), channel_id=5, dimensions={0}, replica_groups={{0,1,2,3},{4,5,6,7}}, use_global_device_ids=true
  %n = f32[10] negate(%q)
  ROOT %t = (f32[10], f32[40]) tuple(%n, %g)
}
%last (q: f32[10]) -> f32[40] {
  %q = f32[10] parameter(0)
  %g = f32[40] all-gather(%q), channel_id=5, dimensions={0}, replica_groups={{0,1,2,3},{4,5,6,7}}, use_global_device_ids=true
  ROOT %c = f32[40] custom-call(%g), custom_call_target="AsyncCollectiveDone"
}
"""


def test_a_collective_in_stages_is_one():
  config = r'backend_config="{\"estimated_cycles\":\"12\"}"'
  got = walk(
      '%f = (f32[10], f32[40]) fusion(%p), kind=kCustom, calls=%first\n  '
      '%m = (f32[10], f32[40]) fusion(%p), kind=kOutput, calls=%middle,'
      f' {config}\n  '
      '%l = f32[40] fusion(%p), kind=kCustom, calls=%last\n  ROOT '
      + compute('b', '%p', 2),
      STAGES.replace('-> (f32[10], f32[10]) {', '-> (f32[10], f32[40]) {'),
  )
  assert got.compute_seconds == 14
  (wait,) = got.waits
  assert wait.collective.bytes == 160
  assert wait.seconds == 40 - 12

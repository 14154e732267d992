"""What a sweep found, as tables and texts for people."""

from pax_softmoe.tuning import result as result_lib


def columns(point: result_lib.Point, usable_gib: float) -> dict[str, str]:
  """Returns the cells of a point's row by title; '~' is for arithmetic.

  Args:
    point: of a sweep.
    usable_gib: what programs may use of the memory of a chip.
  """
  gb = {kind: v.gb for kind, v in point.collectives.items()}
  reduced = gb.get('all-reduce', 0) + gb.get('reduce-scatter', 0)
  remat = point.remat
  if point.exchange_parts != 1:
    remat += f', {point.exchange_parts} parts'
  if point.first_moment:
    remat += f', {point.first_moment}'
  # What is by arithmetic, all or in part.
  compiled = '' if point.effort != 'none' else '~'
  timed = '' if point.effort == 'full' else '~'
  sized = '' if point.target == 'tpu' else '~'
  return {
      'mesh': 'x'.join(map(str, point.mesh)),
      'preset': point.preset,
      'remat': remat,
      'images': str(point.images_per_chip),
      'flags': point.compiler_flags,
      'effort': point.effort,
      _memory(usable_gib): f'{sized}{point.hbm_gib:.2f}',
      'all-to-all GB': compiled + _short(gb.get('all-to-all', 0)),
      'gather GB': compiled + _short(gb.get('all-gather', 0)),
      'reduce GB': compiled + _short(reduced),
      'compute ms': timed + _short(point.compute_ms),
      'exchange ms': compiled + _short(point.exchange_ms),
      'exposed ms': timed + _short(point.exposed_ms),
      'step ms': timed + _short(point.step_ms),
      'images/s/chip': timed + _short(point.images_per_second_per_chip),
      'MFU': f'{timed}{point.mfu:.1%}',
      'verdict': point.verdict,
  }


def _memory(usable_gib: float) -> str:
  return f'HBM GiB of {usable_gib:g}'


def _short(value: float) -> str:
  """Returns three digits of a number, or all before the point."""
  return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def explain(point: result_lib.Point) -> str:
  """Returns where the time of a compiled point goes."""
  lines = [
      'memory by arithmetic, GiB a chip: '
      + ', '.join(f'{k} {v:.2f}' for k, v in point.estimate.gib.items())
  ]
  top = point.top
  if not top:
    lines.append(
        f'this point was compiled with effort {point.effort!r}; only those'
        ' with full effort tell where cycles go'
    )
  if 'layers' in top:
    lines.append('\nms of compute by layer (compiler estimate)')
    lines.extend(f'{r["ms"]:9.2f}  {r["layer"]}' for r in top['layers'])
    lines.append('\nms of compute by source line (compiler estimate)')
    lines.extend(f'{r["ms"]:9.2f}  {r["source"]}' for r in top['lines'])
  if top:
    lines.append(
        '\nms exposed, of ms of exchanges (modelled), GB a chip, what they are'
    )
    lines.extend(
        f'{r["exposed_ms"]:9.2f}  {r["ms"]:7.2f}  {r["gb"]:7.3f} '
        f' {r["count"]} x {r["kind"]} of'
        f' {r["dtype"]} among {r["group"]}: {r["layer"]}, {r["source"]}'
        for r in top['collectives']
    )
  return '\n'.join(lines)


def compare(a: result_lib.Result, b: result_lib.Result) -> list[dict[str, str]]:
  """Returns a row for each point that both of two results compiled alike.

  Args:
    a: one, before.
    b: another, after.

  Returns:
    Cells by title, where the step time changed most first.
  """

  def key(p: result_lib.Point):
    return (
        p.mesh,
        p.preset,
        p.remat,
        p.images_per_chip,
        p.effort,
        p.first_moment,
        p.compiler_flags,
        p.exchange_parts,
    )

  before = {key(p): p for p in a.points if p.effort != 'none'}
  pairs = [(before[key(p)], p) for p in b.points if key(p) in before]
  pairs.sort(key=lambda pair: -abs(pair[1].step_ms - pair[0].step_ms))
  rows = []
  for old, new in pairs:
    cells = columns(new, b.usable_gib)
    alike = ('mesh', 'preset', 'remat', 'images', 'flags', 'effort')
    row = {title: cells[title] for title in alike}
    memory = _memory(b.usable_gib)
    for title in (memory, 'compute ms', 'exposed ms', 'step ms', 'MFU'):
      row[title] = f'{columns(old, b.usable_gib)[title]} → {cells[title]}'
    rows.append(row)
  return rows

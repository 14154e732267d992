"""Tables for people."""

from pax_softmoe.tools import tables


def test_a_table_is_as_wide_as_asked_for(capsys):
  table = tables.new()
  table.add_column('name')
  table.add_column('meaning')
  table.add_row('x', tables.line('word ' * 20))
  tables.show(table, 120)
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].split() == ['name', 'meaning']
  assert lines[1].count('word') == 20


def test_long_cells_are_cut_instead_of_wrapped(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '40')
  table = tables.new()
  table.add_column('meaning')
  table.add_row(tables.line('word ' * 40))
  tables.show(table, 20)
  lines = [
      l.rstrip() for l in capsys.readouterr().out.splitlines() if l.strip()
  ]
  assert len(lines) == 2 and lines[1].endswith('…')

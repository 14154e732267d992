"""The page of all settings."""

import re

from pax_softmoe import experiments
from pax_softmoe.bench import make_settings_page
from pax_softmoe.experiments import settings


def test_the_page_is_that_of_the_declarations():
  page = make_settings_page.PAGE.read_text()
  assert page == make_settings_page.text(), 'run `make golden`'
  names = set(re.findall(r'^\| `([A-Z0-9_]+)`', page, re.MULTILINE))
  for name in ('SoftMoEH14', 'TokensChoiceB16', 'SoftMoEH14ImageNet'):
    declared = settings.declared(getattr(experiments, name))
    assert declared.keys() <= names


def test_every_row_has_five_cells():
  rows = [
      line
      for line in make_settings_page.text().splitlines()
      if line.startswith('| `')
  ]
  assert len(rows) > 50
  for row in rows:
    assert len(re.split(r'(?<!\\)\|', row)) == 7, row

"""The site that is made of the pages."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_is_made_without_a_warning():
  done = subprocess.run(
      ['make', 'docs'], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr[-3000:]
  site = ROOT / 'build' / 'site'
  pages = {p.stem for p in site.glob('*.html')}
  assert {p.stem for p in (ROOT / 'docs').glob('*.md')} <= pages
  assert 'no sharding preset' in (site / 'troubleshooting.html').read_text()
  assert '<math ' in (site / 'maths.html').read_text()
  assert 'mix_tokens' in (site / 'api' / 'pax_softmoe.html').read_text()
  # What a page loads by itself, unlike what it links to, is here.
  for page in site.rglob('*.html'):
    loaded = re.findall(
        r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(http[^"]*)',
        page.read_text(),
    )
    assert not loaded, page

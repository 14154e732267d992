"""Makes what the site has besides its pages: API, errors, formulas.

mkdocs calls the functions `on_…`, see mkdocs.yml.
"""

from collections.abc import Iterator
import pathlib
import re
import sys
from typing import Any

from latex2mathml import converter  # pyright: ignore[reportMissingImports]
from mkdocs.structure import files as mkdocs_files  # pyright: ignore[reportMissingImports]

# mkdocs runs this file where the package is not installed.
sys.path.append(str(pathlib.Path(__file__).parents[2]))
# ruff: noqa: E402
from pax_softmoe.bench import raised_errors

# Where a page wants all errors.
MARK = '<!-- every error -->'
# A link from a page to a file of the package.
_SOURCE = re.compile(r'\(\.\./((?:pax_softmoe|experiments)/[\w/]*)\.py\)')
# Packages with a page of the reference; the rest is for commands.
PACKAGES = (
    'pax_softmoe',
    'pax_softmoe.bench',
    'pax_softmoe.checkpoints',
    'pax_softmoe.data.ops',
    'pax_softmoe.data.read',
    'pax_softmoe.data.prepare',
    'pax_softmoe.evaluation',
    'pax_softmoe.experiments',
    'pax_softmoe.hlo',
    'pax_softmoe.layers',
    'pax_softmoe.model_size',
    'pax_softmoe.running',
    'pax_softmoe.sharding',
    'pax_softmoe.tpu',
    'pax_softmoe.training',
    'pax_softmoe.tuning',
)


def on_config(config: Any) -> Any:
  """Turns blocks of LaTeX into MathML, which browsers show by themselves."""
  config['mdx_configs']['pymdownx.superfences'] = {
      'custom_fences': [{'name': 'math', 'class': 'math', 'format': _formula}]
  }
  return config


def _formula(source: str, *unused: Any, **unused_too: Any) -> str:
  return f'<p>{converter.convert(source, display="block")}</p>'


def on_files(files: Any, config: Any) -> Any:
  """Adds a page of the reference for every package."""
  for package in PACKAGES:
    page = f'# {package}\n\n' + '\n'.join(
        f'::: {module}\n' for module in _modules(package)
    )
    files.append(
        mkdocs_files.File.generated(config, f'api/{package}.md', content=page)
    )
  return files


def _modules(package: str) -> Iterator[str]:
  """Yields the public modules of a package."""
  folder = raised_errors.ROOT / package.replace('.', '/')
  for path in sorted(folder.glob('*.py')):
    if path.stem == '__init__':
      if package == 'pax_softmoe.experiments':
        yield package
    elif not path.stem.startswith('_'):
      yield f'{package}.{path.stem}'


def on_page_markdown(markdown: str, **unused: Any) -> str:
  """Writes all errors where a page wants them, and links files to the API."""
  markdown = _SOURCE.sub(_in_the_api, markdown)
  if MARK not in markdown:
    return markdown
  lines = []
  module = ''
  for error in raised_errors.find():
    if error.module != module:
      module = error.module
      lines += ['', f'### {module}', '']
    message = error.message.replace('`', "'")
    lines.append(f'* `{message}` ({error.kind}, in `{error.function}`)')
  return markdown.replace(MARK, '\n'.join(lines))


def _in_the_api(link: re.Match[str]) -> str:
  module = link[1].removeprefix('pax_softmoe/').replace('/', '.')
  module = f'pax_softmoe.{module}'
  package = module.rpartition('.')[0]
  return f'(api/{package}.md#{module.removesuffix(".__init__")})'

"""The pages of the documentation: links, commands, Python, tables, errors."""

import argparse
import ast
import configparser
import importlib
from importlib import metadata
import json
import pathlib
import re
import shlex

import jax
from jax import numpy as jnp
from pax_softmoe.bench import raised_errors
from pax_softmoe.experiments import recipes
from pax_softmoe.tools import jobs
from pax_softmoe.tools import list_command
from pax_softmoe.tools import main
from praxis import base_layer
from praxis import pax_fiddle
import pytest

ROOT = pathlib.Path(__file__).parent.parent

PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# What a message tells people to do, or what it lists to choose from. A semicolon
# alone is neither.
VERBS = '|'.join([
    *'add change choose close convert copy correct count double'.split(),
    *'expected fill give install leave list lower make measure'.split(),
    *'mix move must name pass prepare put raise register remove'.split(),
    *'rename reshape restore run save see set start take unpack'.split(),
    *('use', 'write', 'ask for', 'go on', 'sign in', 'train first'),
])
LISTS = 'blocks are|it has|it takes|settings are|valid meshes'
REMEDY = re.compile(rf'\b({VERBS}|{LISTS})\b|`softmoe \w+')


def text_of(page):
  return (ROOT / page).read_text()


def anchors(page):
  """Returns what links can name in a page, as GitHub and MkDocs make it."""
  text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
  return {
      re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')
      for title in re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  }


@pytest.mark.parametrize('page', NAMES)
def test_links_lead_somewhere(page):
  text = re.sub(r'```.*?```', '', text_of(page), flags=re.DOTALL)
  for link in re.findall(r'\]\(([^)]+)\)', text):
    path, _, anchor = link.partition('#')
    # Pages of the reference are made with the site, which checks them.
    if re.match(r'https?:', link) or path.startswith('api/'):
      continue
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists(), link
    if anchor:
      assert anchor in anchors(target), link


def commands(page):
  """Returns the commands of a page's blocks, whole lines."""
  text = text_of(page)
  blocks = re.findall(r'```(?:bash)?\n(.*?)```', text, re.DOTALL)
  blocks += re.findall(r'(?:^    .*\n)+', text, re.MULTILINE)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  starts = ('softmoe ', 'python -m paxml.main ')
  return [l.strip() for l in lines if l.strip().startswith(starts)]


COMMANDS = sorted({c for page in NAMES for c in commands(page)})


def check_experiment(name, settings):
  """Fails unless there is such an experiment with such settings."""
  if not name.isupper():
    jobs.find_experiment(name).with_settings(**settings)


def check_softmoe(words):
  name, *rest = words
  assert name in main.COMMANDS
  module = importlib.import_module(f'pax_softmoe.tools.{name}_command')
  parser = argparse.ArgumentParser(exit_on_error=False)
  module.add_arguments(parser)
  arguments, unknown = parser.parse_known_args([w for w in rest if w != '…'])
  assert not unknown
  settings = jobs.parse_settings(getattr(arguments, 'set', []))
  experiment = getattr(arguments, 'experiment', None)
  if experiment:
    check_experiment(experiment, settings)


def check_paxml(words):
  from absl import flags
  from paxml import main as paxml_main  # noqa: F401

  for word in words:
    name, _, value = word.removeprefix('--').partition('=')
    assert word.startswith('--') and name in flags.FLAGS, word
    if name == 'exp':
      check_experiment(value.rpartition('.')[2], {})
    if name == 'fdl' and value.startswith('config:'):
      call = ast.parse(value.removeprefix('config:')).body[0].value
      settings = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
      path = ast.unparse(call.func).split('.')
      assert path[-1] == 'as_config'
      # SLICE takes what is stored when the class is made.
      check_experiment(path[-2], settings)


@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_is_one_that_there_is(command):
  words = shlex.split(command)
  if words[0] == 'softmoe':
    check_softmoe(words[1:])
  else:
    check_paxml(words[3:])


def test_commands_were_found():
  assert len(COMMANDS) > 30


@pytest.mark.parametrize('page', NAMES)
def test_targets_of_make_exist(page):
  makefile = (ROOT / 'Makefile').read_text()
  for target in re.findall(r'`make ([\w-]+)`', text_of(page)):
    assert re.search(rf'^{target}:', makefile, re.MULTILINE), target


def test_the_reference_of_extending_runs():
  blocks = re.findall(
      r'```python\n(.*?)```', text_of('docs/extending.md'), re.DOTALL
  )
  names = {'__name__': 'extending'}
  for block in blocks:
    exec(block, names)
  experiment = names['Flowers']
  assert experiment.with_settings(DATA_DIR='')().num_experts() == 16
  tpl = pax_fiddle.Config(
      names['RoundRobinMoE'],
      name='moe',
      input_dims=4,
      hidden_dims=8,
      num_experts=3,
      identical_expert_init=False,
  )
  layer = base_layer.instantiate(tpl)
  inputs = jax.random.normal(jax.random.PRNGKey(1), [2, 6, 4])
  variables = layer.init(jax.random.PRNGKey(0), inputs)
  outputs = layer.apply(variables, inputs)
  w = variables['params']['experts']
  for n in range(6):
    e = n % 3
    hidden = jax.nn.gelu(inputs[:, n] @ w['wi'][e] + w['bi'][e])
    want = hidden @ w['wo'][e] + w['bo'][e]
    assert jnp.allclose(outputs[:, n], want, atol=1e-5)


def test_recipes_have_the_numbers_of_the_catalogue_and_the_paper():
  known = json.loads(list_command.catalogue().read_text())
  lines = re.findall(
      r'^\| `(\w+)` \| (.*) \|$', text_of('docs/recipes.md'), re.MULTILINE
  )
  rows = {name: line.split(' | ') for name, line in lines if name in known}
  assert len(rows) == 37
  for name, row in rows.items():
    if len(row) == 8:
      experts, parameters, _, gflop, _, *paper = row
    else:
      experts, parameters, gflop, *paper = row
    found = known[name]
    assert int(parameters.replace(',', '')) == found['parameters']
    assert gflop == f'{found["gflop_per_image"]:.4g}'
    assert experts == str(found['num_experts'] if found['moe_layers'] else '-')
    published = vars(jobs.find_experiment(name)).get('published')
    numbers = published.by_label().values() if published else ()
    assert [str(n) for n in numbers] == [n for n in paper if n != '-']


def test_steps_and_batches_of_recipes_are_theirs():
  rows = re.findall(
      r'^\| `(\w+)` \| [^|]+ \| ([\d,]+) x ([\d,]+)\b',
      text_of('docs/recipes.md'),
      re.MULTILINE,
  )
  assert len(rows) == 6
  for name, *numbers in rows:
    recipe = getattr(recipes, name)
    steps, batch = (int(n.strip(',').replace(',', '')) for n in numbers)
    assert (recipe.NUM_TRAIN_STEPS, recipe.TRAIN_BATCH_SIZE) == (steps, batch)


def test_every_error_says_what_to_change_or_the_docs_do():
  explained = re.findall(
      r'^\| `(.+?)` \|', text_of('docs/troubleshooting.md'), re.MULTILINE
  )
  messages = {e.message.replace('`', "'") for e in raised_errors.find()}
  assert len(messages) > 150
  assert not set(explained) - messages, 'no such message any more'
  unclear = {m for m in messages if not REMEDY.search(m)} - set(explained)
  assert not unclear, 'explain these in docs/troubleshooting.md'


def licence(package):
  """Returns the words that a package's metadata has for its licence."""
  found = metadata.metadata(package)
  classifiers = found.get_all('Classifier') or []
  return ' '.join([
      found['License-Expression'] or '',
      (found['License'] or '').partition('\n')[0],
      *(c for c in classifiers if c.startswith('License')),
  ])


def test_dependencies_are_all_listed_with_their_licences():
  rows = dict(
      re.findall(
          r'^\| `([\w-]+)` \| .* \| (.*) \|$',
          text_of('docs/dependencies.md'),
          re.MULTILINE,
      )
  )
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  wanted = [setup['options']['install_requires']]
  wanted += setup['options.extras_require'].values()
  names = re.findall(r'^[\w-]+', '\n'.join(wanted), re.MULTILINE)
  assert names
  assert not set(names) - set(rows)
  installed = {d.metadata['Name'].lower() for d in metadata.distributions()}
  checked = installed & set(rows)
  assert len(checked) > 12
  for name in checked:
    assert rows[name].removesuffix('-2.0') in licence(name), name


def test_the_citation_has_the_version_and_the_paper():
  text = text_of('CITATION.cff')
  version = re.search(
      r"__version__ = '(.*)'", text_of('pax_softmoe/__init__.py')
  )[1]
  assert f'version: {version}\n' in text
  for name in ('Puigcerver', 'Riquelme', 'Mustafa', 'Houlsby'):
    assert name in text
    assert name in text_of('docs/citation.md')

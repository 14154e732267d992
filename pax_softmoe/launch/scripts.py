"""Writes a folder of scripts that train an experiment on TPU slices."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import gzip
import io
import pathlib
import re
import shlex
import tarfile

from pax_softmoe.tpu import hardware

SCRIPTS = ('create.sh', 'host.sh', 'xpk.sh')
# As in the Makefile.
UV_VERSION = '0.13.9'

# What Google Cloud calls a chip, and the image of its hosts.
# https://cloud.google.com/tpu/docs/runtimes
_CLOUD = {
    'v4': ('v4', 'tpu-ubuntu2204-base'),
    'v5e': ('v5litepod', 'v2-alpha-tpuv5-lite'),
    'v5p': ('v5p', 'v2-alpha-tpuv5'),
    'v6e': ('v6e', 'v2-alpha-tpuv6e'),
}
_MARK = '# @SETTINGS@\n'
# What `make env` installs from, and the packages themselves.
_SOURCE = (
    'LICENSE',
    'README.md',
    'pyproject.toml',
    'requirements-tpu.lock',
    'requirements.lock',
    'setup.cfg',
    'experiments',
    'pax_softmoe',
    'tools',
)


@dataclasses.dataclass(frozen=True)
class Job:
  """A job on Google Cloud.

  Attributes:
    name: of the request, its nodes and the workload.
    flags: of paxml.main, without --job_log_dir.
    job_dir: where all results go; the same after each restart.
    tpu_slice: each of the slices.
    slices: how many of them.
    zone: of Google Cloud.
    project: of Google Cloud; '' for that of the user's gcloud.
    spot: whether the slices may be taken away at any time, for less money.
    environment: variables to export on the hosts.
  """

  name: str
  flags: Sequence[str]
  job_dir: str
  tpu_slice: hardware.Slice
  zone: str
  slices: int = 1
  project: str = ''
  spot: bool = False
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write(job: Job, folder: pathlib.Path, checkout: pathlib.Path) -> None:
  """Writes all scripts, and the source beside them.

  Args:
    job: what to run.
    folder: where to; scripts in it are replaced.
    checkout: of this project.

  Raises:
    ValueError: the checkout has no lock file, or there are no such scripts
      for the chips.
    OSError: the folder cannot be written.
  """
  if not (checkout / 'requirements.lock').exists():
    raise ValueError(
        f'{checkout} has no requirements.lock, which the hosts install from;'
        ' run this in a checkout of pax_softmoe, installed by `make env`'
    )
  chip = job.tpu_slice.chip.name
  if chip not in _CLOUD:
    raise ValueError(
        f'{job.tpu_slice.name}: Google Cloud has {chip} on GKE only, and it'
        ' needs jax 0.10.2, which these scripts do not install; use one of'
        f' {", ".join(_CLOUD)}'
    )
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'source.tar.gz').write_bytes(_source(checkout))
  settings = _settings(job)
  for name in SCRIPTS:
    template = pathlib.Path(__file__).with_name(name).read_text()
    used = ''.join(
        line
        for variable, line in settings.items()
        if re.search(rf'\${{?{variable}\b', template)
    )
    path = folder / name
    path.write_text(template.replace(_MARK, used))
    path.chmod(0o755)


def _settings(job: Job) -> dict[str, str]:
  """Returns lines of Bash by the variable that they set."""
  kind, runtime = _CLOUD[job.tpu_slice.chip.name]
  flags = ''.join(f'  {shlex.quote(flag)}\n' for flag in job.flags)
  values = {
      'NAME': job.name,
      'JOB_DIR': job.job_dir.rstrip('/'),
      'ACCELERATOR': f'{kind}-{job.tpu_slice.name.split("-")[1]}',
      'RUNTIME': runtime,
      'SLICES': str(job.slices),
      'ZONE': job.zone,
      'PROJECT': job.project,
      'SPOT': 'yes' if job.spot else '',
      'UV_VERSION': UV_VERSION,
  }
  lines = {k: f'{k}={shlex.quote(v)}\n' for k, v in values.items()}
  exports = ''.join(
      f'export {k}={shlex.quote(v)}\n' for k, v in job.environment.items()
  )
  return lines | {'FLAGS': f'FLAGS=(\n{flags})\n{exports}'}


def _source(checkout: pathlib.Path) -> bytes:
  """Returns the source as .tar.gz; the same source gives the same bytes."""
  archive = io.BytesIO()
  with gzip.GzipFile(fileobj=archive, mode='wb', mtime=0) as packed:
    with tarfile.open(fileobj=packed, mode='w') as tar:
      for name in _SOURCE:
        tar.add(checkout / name, name, filter=_without_leftovers)
  return archive.getvalue()


def _without_leftovers(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
  if member.name.endswith(('__pycache__', '.pyc', '.part')):
    return None
  member.mtime = member.uid = member.gid = 0
  member.uname = member.gname = ''
  return member

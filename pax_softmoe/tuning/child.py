"""Compiles train steps in processes of their own.

The compiler reads its flags once, may run out of memory or time, and may crash:
none of that touches the process that asks.
"""

from collections.abc import Mapping
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

from pax_softmoe.running import parent
from pax_softmoe.tpu import flags
from pax_softmoe.tpu import hardware

EFFORTS = ('low', 'full')
_MODULE = 'pax_softmoe.tuning.compile_step'
# Compiles about three times faster, with cycles about three times too high.
_LOW_EFFORT = {'JAX_EXEC_TIME_OPTIMIZATION_EFFORT': '-1.0'}


def compile_step(
    request: Mapping[str, Any], output: pathlib.Path, timeout: float
) -> dict[str, Any]:
  """Compiles in a child process; whatever happens to it becomes a result.

  Args:
    request: `experiment` (a name), `settings` of it, `slice`, `effort` (one of
      `EFFORTS`), `flags` (of libtpu, as one text) and `target` ('tpu' or 'cpu').
    output: where the child writes its result; its log goes beside it.
    timeout: seconds until the child is ended.

  Returns:
    What `compile_step.compile_step` returns, or {'status': 'failed' or 'timed
    out', 'error'}; and `seconds` with either.
  """
  started = time.monotonic()
  output.unlink(missing_ok=True)
  log = output.with_suffix('.log')
  with log.open('w') as sink:
    child = subprocess.Popen(
        [sys.executable, '-m', _MODULE, str(output)],
        stdin=subprocess.PIPE,
        stdout=sink,
        stderr=sink,
        text=True,
        env={**_environment(request), **parent.variables()},
    )
    try:
      child.communicate(json.dumps(request), timeout=timeout)
    except subprocess.TimeoutExpired:
      result = {'status': 'timed out', 'error': f'no end after {timeout:.0f} s'}
    else:
      result = _result(output, log, child.returncode)
    finally:
      if child.poll() is None:
        child.kill()
        child.wait()
  return {**result, 'seconds': round(time.monotonic() - started, 1)}


def _result(
    output: pathlib.Path, log: pathlib.Path, code: int
) -> dict[str, Any]:
  """Returns what a child that has ended left behind."""
  if code == 0 and output.exists():
    return json.loads(output.read_text())
  lines = log.read_text(errors='replace').strip().splitlines() or ['no output']
  ended = f'signal {-code}' if code < 0 else f'code {code}'
  return {'status': 'failed', 'error': f'{ended}: {lines[-1][:300]}'}


def _environment(request: Mapping[str, Any]) -> dict[str, str]:
  environment = {
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'TPU_SKIP_MDS_QUERY': '1',
      'TF_CPP_MIN_LOG_LEVEL': '2',
  }
  if request['target'] == 'cpu':
    chips = hardware.find_slice(request['slice']).devices
    flag = f'--xla_force_host_platform_device_count={chips}'
    environment['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {flag}'
  else:
    environment[flags.VARIABLE] = request['flags']
    if request['effort'] == 'low':
      environment.update(_LOW_EFFORT)
  return environment

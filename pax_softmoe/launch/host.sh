#!/usr/bin/env bash
# Runs on every host of a slice, each time the host starts: makes an environment
# and trains, again and again until the job has ended. Each run goes on from the
# last checkpoint, since all have the same folder.
#
# Ends with
#   0    the job has ended well
#   1    it failed soon after its start, MAX_FAILURES times in a row
#   2    the environment could not be made
#   143  it was told to end (SIGTERM), as before a preemption
#
# Variables that change what it does, all optional:
#   SOFTMOE_PYTHON  Python of an environment that has pax_softmoe already
#   JAX_PLATFORMS   default: tpu,cpu; without a TPU this fails, where JAX by
#                   itself would train on the CPU
set -euo pipefail

# @SETTINGS@

WORK=${SOFTMOE_WORK:-/opt/pax_softmoe}
# A run that ends sooner than this many seconds after its start is a failure.
QUICK_SECONDS=${SOFTMOE_QUICK_SECONDS:-600}
MAX_FAILURES=${SOFTMOE_MAX_FAILURES:-5}
PAUSE_SECONDS=${SOFTMOE_PAUSE_SECONDS:-30}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "$(date -u +%FT%TZ) host.sh: $*" >&2; }

# The environment of the lock file, with libtpu. A start that was cut off here
# begins anew; one that was not is never repeated.
make_environment() {
  [[ -e "$WORK/complete" ]] && return
  say "making the environment in $WORK"
  rm -rf "$WORK/env" "$WORK/source"
  mkdir -p "$WORK/source"
  if [[ -e "$here/source.tar.gz" ]]; then
    cp "$here/source.tar.gz" "$WORK"
  else
    gcloud storage cp "$JOB_DIR/launch/source.tar.gz" "$WORK"
  fi
  tar -xzf "$WORK/source.tar.gz" -C "$WORK/source"
  # The image of TPU machines has Python 3.10, the lock is for 3.11.
  python3 -m venv "$WORK/uv" || {
    apt-get update && apt-get install --yes python3-venv
    python3 -m venv "$WORK/uv"
  }
  "$WORK/uv/bin/pip" install --quiet "uv==$UV_VERSION"
  local uv="$WORK/uv/bin/uv"
  "$uv" venv --quiet --python 3.11 "$WORK/env"
  local install=("$uv" pip install --quiet --python "$WORK/env" --no-deps)
  "${install[@]}" --require-hashes -r "$WORK/source/requirements.lock"
  "${install[@]}" --require-hashes -r "$WORK/source/requirements-tpu.lock"
  "${install[@]}" --no-build-isolation -e "$WORK/source"
  touch "$WORK/complete"
}

# Tells create.sh, which cannot see this machine, how the job has ended.
leave_mark() {
  "$python" -c 'import sys; from etils import epath
path = epath.Path(sys.argv[1]) / "launch"
path.mkdir(parents=True, exist_ok=True)
(path / sys.argv[2]).write_text("")' "$JOB_DIR" "$1" ||
    say "could not write $JOB_DIR/launch/$1"
}

if [[ -n ${SOFTMOE_PYTHON:-} ]]; then
  python=$SOFTMOE_PYTHON
else
  # In a process of its own: within a condition `set -e` does nothing.
  (make_environment) &
  wait $! || { say 'the environment could not be made'; exit 2; }
  python=$WORK/env/bin/python
fi
export JAX_PLATFORMS=${JAX_PLATFORMS:-tpu,cpu}

child=
# The child saves a checkpoint before it ends.
trap 'say "told to end"; kill -TERM "$child" 2>/dev/null || true
wait "$child" || true; exit 143' TERM

failures=0
while true; do
  started=$SECONDS
  code=0
  "$python" -m paxml.main "${FLAGS[@]}" --job_log_dir="$JOB_DIR" &
  child=$!
  say "started process $child"
  wait "$child" || code=$?
  ran=$((SECONDS - started))
  say "process $child ended with code $code after $ran s"
  if ((code == 0)); then
    leave_mark 'done'
    exit 0
  fi
  failures=$((ran < QUICK_SECONDS ? failures + 1 : 0))
  if ((failures >= MAX_FAILURES)); then
    say "it failed $failures times soon after its start"
    leave_mark failed
    exit 1
  fi
  sleep "$PAUSE_SECONDS"
done

#!/usr/bin/env bash
# Runs on your own machine: asks Google Cloud for the slices, watches over them,
# asks again when they are taken away, and gives them back when the job is done.
# Stopping this script stops nothing else; starting it again goes on watching.
# Needs gcloud, logged in.
#
# Ends with
#   0  the job has ended well, and the slices were given back
#   1  the job failed on its hosts; the slices are still there (and cost money)
set -euo pipefail

# @SETTINGS@

PAUSE_SECONDS=${SOFTMOE_PAUSE_SECONDS:-60}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
where=(--zone="$ZONE")
if [[ -n $PROJECT ]]; then where+=(--project="$PROJECT"); fi
if ((SLICES > 1)); then
  nodes=(--node-count="$SLICES" --node-prefix="$NAME")
else
  nodes=(--node-id="$NAME")
fi
tier=()
if [[ -n $SPOT ]]; then tier=(--spot); fi

requests() { gcloud compute tpus queued-resources "$@" "${where[@]}"; }
# Nothing if there is no such request.
state() {
  requests list --filter="name~(^|/)$NAME\$" --format='value(state.state)'
}
has_mark() { gcloud storage ls "$JOB_DIR/launch/$1" >/dev/null 2>&1; }

while true; do
  if has_mark "done"; then
    echo "The job has ended well. Before it can go on with more steps:" \
      "gcloud storage rm $JOB_DIR/launch/done"
    if [[ -n $(state) ]]; then requests delete "$NAME" --force --quiet; fi
    exit 0
  fi
  if has_mark failed; then
    echo "The job failed. Its log is on the hosts, in the journal of" \
      "google-startup-scripts. To give the slices back:"
    echo "  gcloud compute tpus queued-resources delete $NAME --force ${where[*]}"
    echo "To try again: gcloud storage rm $JOB_DIR/launch/failed"
    exit 1
  fi
  now=$(state) || now=unknown
  echo "$(date -u +%FT%TZ) $NAME: ${now:-not there}"
  case $now in
    '')
      gcloud storage cp "$here/source.tar.gz" "$JOB_DIR/launch/"
      requests create "$NAME" "${nodes[@]}" "${tier[@]}" \
        --accelerator-type="$ACCELERATOR" \
        --runtime-version="$RUNTIME" \
        --metadata-from-file=startup-script="$here/host.sh"
      ;;
    # Taken away, or never given; such a request does not come back to life.
    SUSPENDED | FAILED) requests delete "$NAME" --force --quiet ;;
  esac
  sleep "$PAUSE_SECONDS"
done

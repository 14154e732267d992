#!/usr/bin/env bash
# The same job on a GKE cluster that has such slices, by xpk:
#
#   bash xpk.sh CLUSTER
#
# xpk makes an image of Python and this folder, and runs host.sh on every host.
# Hosts that are lost are replaced by GKE, up to 100 times.
set -euo pipefail

# @SETTINGS@

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
where=(--zone="$ZONE")
if [[ -n $PROJECT ]]; then where+=(--project="$PROJECT"); fi

xpk workload create \
  --cluster="${1:?give the name of the cluster: bash xpk.sh CLUSTER}" \
  --workload="$NAME" --tpu-type="$ACCELERATOR" --num-slices="$SLICES" \
  "${where[@]}" --max-restarts=100 \
  --base-docker-image=python:3.11-bookworm --script-dir="$here" \
  --command='bash host.sh'

#!/usr/bin/env bash
# What this project's scoring and training reach on one GPU, in at most eight minutes: benchmarks/gpu.py says what.
# Needs torch (2.11 or 2.13) and transformers (5.17 or newer), nothing else of this project; the network is not used.
#
#     bash benchmarks/gpu.sh [--out gpu.json] [--minutes 8]
#     PYTHON=/opt/torch/bin/python bash benchmarks/gpu.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "${PYTHON:-python3}" "$root/benchmarks/gpu.py" "$@"

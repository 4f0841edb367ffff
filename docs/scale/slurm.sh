#!/bin/bash
# A run on the nodes of a Slurm job: sbatch slurm.sh. Not run yet. Submitted again it goes on.
#SBATCH --job-name=reflection
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120          # two minutes before the end: what is under way is waited for and kept

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1)
export RAY_ADDRESS="http://$head:8265" RAY_USAGE_STATS_ENABLED=0

srun --nodes=1 --ntasks=1 -w "$head" .venv/bin/ray start --head --port=6379 --dashboard-host=0.0.0.0 --block &
sleep 20
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
        .venv/bin/ray start --address="$head:6379" --block &
    sleep 20
fi

make run PROFILE=profiles/mine.yaml &
run=$!
trap 'kill -TERM "$run"' TERM
wait "$run" || wait "$run"

#!/bin/bash
# Shares the sampling of a command among the tasks of a job array; a second job trains on what they have sampled (docs/machines.md):
#
#     id=$(sbatch --parsable --array=1-8 scripts/slurm/parts.sh)
#     sbatch --dependency=afterok:$id scripts/slurm/parts.sh
#
# Both run this file, so the flags that samples depend on are the same. A task that is killed, or requeued, resumes its part.
#SBATCH --job-name=rl
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu

# Edit these three. The folders are seen by all machines; PARTS belongs to one command.
RL=target/release/rl
COMMAND=(ei --init runs/sft --base runs/base --samples 96 --rounds 1 --rollout-streams 16)
PARTS=runs/ei-parts OUT=runs/ei

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    exec "$RL" "${COMMAND[@]}" --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_MAX" --parts "$PARTS" --quiet
fi
# A requeued job resumes its run.
if [ -e "$OUT/config.toml" ]; then
    exec "$RL" "${COMMAND[0]}" --resume "$OUT" --quiet
fi
exec "$RL" "${COMMAND[@]}" --from-samples "$PARTS/*.jsonl" --out "$OUT" --quiet

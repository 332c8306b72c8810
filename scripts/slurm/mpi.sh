#!/bin/bash
# One run of several MPI ranks (docs/machines.md): weights, samples and metrics are those of one process.
#
#     sbatch --nodes=4 --ntasks-per-node=1 scripts/slurm/mpi.sh
#
# A job that is requeued, or submitted again, resumes its run, with any number of ranks.
#SBATCH --job-name=rl
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu

# Edit these three. The program is built with --features rl/mpi; OUT is seen by all machines. LAUNCH=(srun --mpi=pmix) where Slurm has PMIx.
RL=target/release/rl LAUNCH=(mpirun)
COMMAND=(ppo --init runs/sft --questions 256 --rollout-streams 64)
OUT=runs/ppo

# A requeued job resumes its run.
if [ -e "$OUT/config.toml" ]; then
    exec "${LAUNCH[@]}" "$RL" "${COMMAND[0]}" --resume "$OUT" --quiet
fi
exec "${LAUNCH[@]}" "$RL" "${COMMAND[@]}" --out "$OUT" --quiet

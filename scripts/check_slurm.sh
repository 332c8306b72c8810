#!/bin/bash
# Tries scripts/slurm on a real Slurm with three daemons on this machine, as root: a job array shares the sampling of Expert Iteration, one
# of its tasks is requeued, a second job trains, is killed and submitted again, and samples and weights are those of one process.
#
#     apt-get install slurm-wlm munge
#     cargo build --release --bins && scripts/check_slurm.sh
#
# Programs with --features rl/mpi (Open MPI) are also tried as ranks on the three nodes, in a job that is cancelled and submitted again.
# Leaves nothing behind. It takes two minutes, and another one.
set -eu
cd "$(dirname "$0")/.."
programs=${BIN:-$PWD/target/release}
work=$(mktemp -d)
host=$(hostname -s)

cleanup() {
    scancel --quiet --user="$(id -un)" 2>/dev/null || true
    # shellcheck disable=SC2046
    kill $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null || true
    sleep 1
    rm -rf "$work"
}
trap cleanup EXIT

step() { printf '\n== %s\n' "$*"; }

step "Slurm with three nodes"
mkdir -p "$work/state" /run/munge
[ -f /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
chown -R munge: /etc/munge /run/munge
chmod 0400 /etc/munge/munge.key
pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
cat >"$work/slurm.conf" <<EOF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool-%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
MpiDefault=none
NodeName=node[1-3] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17003] CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES OverSubscribe=YES:4 State=UP
EOF
export SLURM_CONF=$work/slurm.conf
slurmctld
for node in node1 node2 node3; do
    mkdir -p "$work/spool-$node"
    slurmd -N $node
done
for _ in $(seq 30); do
    [ "$(sinfo --noheader --format=%D --states=idle)" = 3 ] && break
    sleep 1
done
sinfo

# Waits until a condition holds.
await() {
    for _ in $(seq 600); do
        if eval "$1"; then return 0; fi
        sleep 0.1
    done
    echo "this has not come true: $1" >&2
    exit 1
}

# Waits until a job is in a state.
wait_for() {
    for _ in $(seq 120); do
        state=$(scontrol --oneliner show job "$1" | grep -o 'JobState=[A-Z_]*' | sort -u | tr '\n' ' ')
        case "$state" in $2) return 0 ;; esac
        sleep 0.5
    done
    echo "job $1 is $state" >&2
    cat "$work"/*.out "$work"/slurm*.log >&2
    exit 1
}

step "One process"
of_benchmark="--model pico --benchmark synthetic --threads 1 --quiet"
short="--eval-problems 20 --test-problems 20 --test-samples 1"
# shellcheck disable=SC2086
{
    "$programs/rl" pretrain $of_benchmark --steps 400 --eval-every 400 --out "$work/base"
    "$programs/rl" sft $of_benchmark $short --steps 60 --eval-every 60 --init "$work/base" --out "$work/sft"
    flags="--init $work/sft --base $work/base $of_benchmark $short --limit 400 --samples 40 --rounds 1 --epochs 2 --eval-every 20"
    "$programs/rl" ei $flags --out "$work/one"
} >"$work/one.out"

step "A job array, one of whose tasks is requeued"
sed -e "s|^RL=.*|RL=$programs/rl|" -e "s|^COMMAND=.*|COMMAND=(ei $flags)|" -e "s|^PARTS=.*|PARTS=$work/parts OUT=$work/shared|" \
    -e 's|cpus-per-task=16|cpus-per-task=1|' scripts/slurm/parts.sh >"$work/parts.sh"
id=$(sbatch --parsable --array=1-3 --output="$work/%A_%a.out" "$work/parts.sh")
train=$(sbatch --parsable --dependency="afterok:$id" --output="$work/%j.out" "$work/parts.sh")
part=$work/parts/part-2-of-3.jsonl
await '[ -e "$part" ] && [ "$(wc -l <"$part")" -gt 1000 ]'
scontrol requeue "${id}_2"
# Slurm would wait for two minutes.
await '[ "$(squeue --noheader --format=%t --jobs="${id}_2")" = PD ]'
scontrol update JobId="${id}_2" StartTime=now
echo "task 2 was stopped with $(($(wc -l <"$part") - 1)) samples"
wait_for "$id" "JobState=COMPLETED "
cat "$work/${id}"_*.out

step "The job that trains, killed and submitted again"
await '[ -s "$work/shared/rounds/1/metrics.jsonl" ]'
pkill -KILL -f -- "ei --init"
wait_for "$train" "JobState=FAILED "
echo "it was killed after step $(wc -l <"$work/shared/rounds/1/metrics.jsonl") of its fine-tuning"
train=$(sbatch --parsable --output="$work/%j.out" "$work/parts.sh")
wait_for "$train" "JobState=COMPLETED "
cat "$work/$train.out"
same() {
    for file in samples.jsonl checkpoints/step-000001/model.safetensors; do
        cmp "$work/one/$file" "$1/$file"
    done
    echo "samples and weights are those of one process"
}
same "$work/shared"
ldd "$programs/rl" | grep -q libmpi || exit 0

step "Three ranks on three nodes; the job is cancelled and submitted again"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
sed -e "s|^RL=[^ ]*|RL=$programs/rl|" -e "s|^COMMAND=.*|COMMAND=(ei $flags)|" -e "s|^OUT=.*|OUT=$work/ranks|" \
    -e 's|cpus-per-task=16|cpus-per-task=1|' scripts/slurm/mpi.sh >"$work/mpi.sh"
ranks() { sbatch --parsable --nodes=3 --ntasks-per-node=1 --output="$work/%j.out" "$work/mpi.sh"; }
job=$(ranks)
await '[ -e "$work/ranks/samples.jsonl" ] && [ "$(wc -l <"$work/ranks/samples.jsonl")" -gt 1000 ]'
scancel --signal=KILL --full "$job"
wait_for "$job" "JobState=CANCELLED "
echo "it was killed with $(wc -l <"$work/ranks/samples.jsonl") samples"
job=$(ranks)
wait_for "$job" "JobState=COMPLETED "
cat "$work/$job.out"
same "$work/ranks"

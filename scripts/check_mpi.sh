#!/bin/bash
# Checks that runs of several MPI ranks are those of one process, bit for bit: checkpoints, samples, metrics.
#
#     apt-get install openmpi-bin libopenmpi-dev clang libclang-dev          # or mpich, with MPICC=mpicc.mpich and MPIRUN=mpirun.mpich
#     cargo build --release --bins --features rl/mpi,eval/mpi && scripts/check_mpi.sh [--short | --hosts]
#
# --short: two ranks, four commands. --hosts, as root: three network namespaces as hosts as well, with one rank each. Without them: 2, 3 and
# 4 ranks, all commands, and a rank that is killed. A minute, and three.
set -eu
cd "$(dirname "$0")/.."
programs=${BIN:-$PWD/target/release}
rl=$programs/rl
work=$(mktemp -d)
mode=${1:-}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Open MPI has --oversubscribe, MPICH needs no permission.
launcher=("${MPIRUN:-mpirun}")
if "${launcher[0]}" --version 2>&1 | grep -q 'Open MPI'; then launcher+=(--oversubscribe --quiet); fi

cleanup() {
    for host in h1 h2 h3; do ip netns del "rl-$host" 2>/dev/null || true; done
    ip link del rl-bridge 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

step() { printf '\n== %s\n' "$*"; }

# Compares two runs: every byte of checkpoints and samples, and metrics but for clocks.
same() {
    python3 - "$1" "$2" <<'P'
import json, pathlib, sys
one, other = map(pathlib.Path, sys.argv[1:])
def metrics(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    clock = lambda name: name.startswith("time/") or name == "rollout/tokens_per_s"
    return [{name: value for name, value in line.items() if not clock(name)} for line in lines]
assert metrics(one) == metrics(other), f"metrics of {one} and {other} differ"
files = sorted(path.relative_to(one) for path in (one / "checkpoints").rglob("*") if path.is_file())
assert len(files) > 3, f"{one} has no checkpoints"
for name in [*files, pathlib.Path("samples.jsonl")]:
    assert (one / name).read_bytes() == (other / name).read_bytes(), f"{name} of {one} and {other} differ"
P
}

# Waits until a run has logged so many steps.
reaches() {
    for _ in $(seq 1200); do
        if [ "$(wc -l 2>/dev/null <"$1/metrics.jsonl" || echo 0)" -ge "$2" ]; then return 0; fi
        sleep 0.05
    done
    echo "$1 has not come to step $2" >&2
    exit 1
}

step "Models"
tiny="--model pico --benchmark synthetic --limit 120 --threads 1 --quiet"
short="--eval-problems 12 --test-problems 12 --test-samples 2"
# shellcheck disable=SC2086
{
    "$rl" pretrain --model pico --benchmark synthetic --threads 2 --quiet --steps 300 --eval-every 300 --out "$work/start"
    "$rl" sft $tiny $short --steps 60 --eval-every 60 --init "$work/start" --out "$work/policy"
    "$rl" orm $tiny --samples 4 --steps 10 --eval-every 5 --init "$work/policy" --out "$work/rm"
} >/dev/null
ppo="--init $work/policy --questions 12 --samples 4 --mini-batch 16 --micro-batch 3 --rollout-batch 16 --value-warm-up 0 --steps 3 --eval-every 1"
declare -A runs=(
    [sft]="sft $tiny $short --init $work/start --steps 8 --eval-every 4"
    [ppo]="ppo $tiny $short $ppo --filter-groups=false"
    [lora]="ppo $tiny $short $ppo --filter-groups=false --lora-rank 4 --reward dense-orm --orm $work/rm"
    [ei]="ei $tiny $short --init $work/policy --base $work/start --samples 4 --rounds 2 --patience 2 --steps 8 --eval-every 4"
    [orm]="orm $tiny --init $work/policy --samples 4 --labels steps --completions 2 --steps 8 --eval-every 4"
    [rcrl]="rcrl $tiny $short --init $work/policy --base $work/start --samples 4 --completions 2 --steps 8 --eval-every 4"
    [dpo]="dpo $tiny $short --init $work/policy --samples 4 --steps 6 --eval-every 3"
    [reward]="ppo $tiny $short $ppo --filter-groups=false --reward-command 'python3 docs/examples/rewards/regex.py'"
)
names=(ppo ei lora orm)
counts=(2)
if [ "$mode" != --short ]; then names+=(sft rcrl dpo reward) counts=(2 3 4); fi

for name in "${names[@]}"; do
    eval "$rl ${runs[$name]} --out $work/$name" >/dev/null
    for ranks in "${counts[@]}"; do
        eval "${launcher[*]} -n $ranks $rl ${runs[$name]} --out $work/$name-$ranks" >/dev/null
        same "$work/$name" "$work/$name-$ranks"
    done
    echo "$name: ${counts[*]} ranks are one process"
done
report="run --checkpoint $work/policy --benchmark synthetic --samples 4 --limit 20 --threads 1 --quiet"
# shellcheck disable=SC2086
{
    "$programs/eval" $report --out "$work/one.json" >/dev/null
    "${launcher[@]}" -n 2 "$programs/eval" $report --out "$work/two.json" >/dev/null
}
cmp "$work/one.json" "$work/two.json"
echo "eval run: 2 ranks are one process"
[ "$mode" != --short ] || exit 0

step "A rank is killed; the run is resumed with another number of ranks"
long="${runs[ppo]/--steps 3/--steps 20}"
eval "$rl $long --out $work/long" >/dev/null
eval "${launcher[*]} -n 3 $rl $long --out $work/killed" >"$work/killed.log" 2>&1 &
job=$!
reaches "$work/killed" 4
pkill -KILL -n -f -- "^$rl ppo .*--out $work/killed"
before=$SECONDS
if wait $job; then echo "the job has not noticed" >&2 && exit 1; fi
echo "the job ended $((SECONDS - before)) s after SIGKILL of a rank"
eval "${launcher[*]} -n 2 $rl ppo --resume $work/killed --quiet" >/dev/null
same "$work/long" "$work/killed"
echo "resumed with 2 ranks it is the run of one process"

step "A rank hangs"
eval "RL_RANK_TIMEOUT=4 ${launcher[*]} -n 3 $rl $long --out $work/hung" >"$work/hung.log" 2>&1 &
job=$!
reaches "$work/hung" 2
pkill -STOP -o -f -- "^$rl ppo .*--out $work/hung"
if wait $job; then echo "the job has not noticed" >&2 && exit 1; fi
grep 'error: ranks \[[012]\] have not come' "$work/hung.log"
pkill -KILL -f -- "--out $work/hung" || true
[ "$mode" = --hosts ] || exit 0

step "Three hosts: network namespaces with an address each"
ip link add rl-bridge type bridge
ip addr add 10.77.0.254/24 dev rl-bridge
ip link set rl-bridge up
for number in 1 2 3; do
    host=rl-h$number
    ip netns add $host
    ip link add "v$number" type veth peer name eth0 netns $host
    ip link set "v$number" master rl-bridge up
    ip -n $host addr add 10.77.0.$number/24 dev eth0
    ip -n $host link set eth0 up
    ip -n $host link set lo up
    echo "10.77.0.$number slots=1" >>"$work/hosts"
done
cat >"$work/agent" <<'A'
#!/bin/bash
# What ssh is elsewhere: starts a command on a host.
host=$1
shift
exec ip netns exec "rl-h${host##*.}" /bin/sh -c "$*"
A
chmod +x "$work/agent"
for name in ppo ei; do
    eval "mpirun --quiet --hostfile $work/hosts -n 3 --mca plm_rsh_agent $work/agent --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_if_include 10.77.0.0/24 $rl ${runs[$name]} --out $work/$name-hosts" >/dev/null
    same "$work/$name" "$work/$name-hosts"
    echo "$name: three hosts are one process"
done

#!/usr/bin/env bash
# Every method of the paper once, on the embedded benchmark, from one base model:
#
#     cargo build --release -p rl -p eval
#     scripts/methods.sh tiny 0 [DIR] [FLAG ...]
#
# A size, a seed, where the runs go, and flags for every command (--threads 1, say). What is finished is skipped, and what was
# interrupted goes on, so it can be stopped at any time. Each method leaves a run directory and DIR/NAME.json, its REPORT with
# 96 samples a problem, reranked by the reward model.
set -euo pipefail
size=${1:?"a size: tiny, medium or small"} seed=${2:?"a seed"} dir=${3:-runs/methods-$1-seed$2}
shift $(($# < 3 ? $# : 3))
flags=("$@")
bin=${BIN:-target/release}
mkdir -p "$dir"

# run NAME COMMAND FLAG ...: one run directory.
run() {
  local name=$1 command=$2 out=$dir/$1
  shift 2
  if [ -f "$out/finished" ]; then return; fi
  echo "== $name"
  if [ -f "$out/checkpoints/index.json" ]; then
    "$bin/rl" "$command" --resume "$out" "${flags[@]}"
  else
    rm -rf "$out"
    "$bin/rl" "$command" --seed "$seed" --model "$size" --out "$out" "${flags[@]}" "$@"
  fi
  touch "$out/finished"
}

# report NAME FLAG ...: what a run's best checkpoint is worth on the test split.
report() {
  local name=$1
  shift
  if [ -f "$dir/$name.json" ]; then return; fi
  echo "== $name: 96 samples a problem"
  "$bin/eval" run --checkpoint "$dir/$name" --orm "$dir/orm" --samples 96 --max-new-tokens 112 --out "$dir/$name.json" \
    "${flags[@]}" "$@"
}

# try NAME COMMAND FLAG ...: a run, and what it is worth.
try() {
  run "$@"
  report "$1"
}

run base pretrain
run sft sft --init "$dir/base"
run orm orm --init "$dir/sft" --judge-after tokens --learning-rate 1e-3 --check-labels 300
report sft
report base --shots 2

# From SFT. What the reward model was taught with is the first round of Expert Iteration.
from_sft=(--init "$dir/sft")
expert=(--base "$dir/base" --rounds 3 --from-samples "$dir/orm/samples.jsonl")
try ei ei "${from_sft[@]}" "${expert[@]}"
try ppo ppo "${from_sft[@]}"
try ppo-dense ppo "${from_sft[@]}" --reward dense
try ppo-sparse-orm ppo "${from_sft[@]}" --reward sparse-orm --orm "$dir/orm"
try ppo-dense-orm ppo "${from_sft[@]}" --reward dense-orm --orm "$dir/orm"
try rcrl rcrl --init "$dir/ei" --base "$dir/base" --samples 4 --temperature 1
try ei-orm ei "${from_sft[@]}" "${expert[@]}" --orm "$dir/orm"

# Without the reference solutions, after two solved problems.
try ei-base ei --start base --init "$dir/base" --base "$dir/base" --rounds 4
run ppo-base ppo --init "$dir/base" --shots 2 --temperature 0.2
report ppo-base --shots 2

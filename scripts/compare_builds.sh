#!/usr/bin/env bash
# Whether two builds of `rl` compute the same: each makes a base, an SFT model and a reward model on demand, and takes a few steps of every
# method. All samples, weights, reports and metrics (but for times and memory) must be equal to the last bit.
#
#   scripts/compare_builds.sh OLD_RL NEW_RL [SIZE] [THREADS]
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2") size=${3:-tiny} threads=${4:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
few=(--model "$size" --seed 5 --threads "$threads" --device cpu --quiet)
table=(--eval-problems 20 --test-problems 20 --test-samples 2)

runs() {
  "$1" ppo --steps 3 "${few[@]}" "${table[@]}" --eval-every 1 --out ppo
  "$1" ppo --steps 2 --limit 60 "${few[@]}" "${table[@]}" --reward dense-orm --orm-score potential --curriculum plr --lora-rank 2 --out ppo-orm
  "$1" ppo --steps 2 "${few[@]}" "${table[@]}" --reward dense --advantage group --curriculum backtracking --out ppo-group
  "$1" ei --rounds 1 --samples 2 --limit 300 --steps 40 "${few[@]}" "${table[@]}" --base runs/base-synthetic-"$size"-seed5 \
    --init runs/sft-synthetic-"$size"-seed5 --out ei
  "$1" rcrl --samples 4 --completions 2 --limit 40 --steps 20 "${few[@]}" "${table[@]}" --base runs/base-synthetic-"$size"-seed5 \
    --init runs/sft-synthetic-"$size"-seed5 --out rcrl
  "$1" orm --labels steps --samples 4 --completions 2 --limit 40 --steps 20 "${few[@]}" --init ppo --out orm
  "$1" augment --limit 40 --steps 20 "${few[@]}" --base runs/base-synthetic-"$size"-seed5 --init runs/sft-synthetic-"$size"-seed5 --out augment
}

for build in old new; do
  mkdir "$folder/$build"
  (cd "$folder/$build" && runs "${!build}" >log 2>&1) || { cat "$folder/$build/log" >&2; exit 1; }
done

python3 - "$folder/old" "$folder/new" <<'PYTHON'
import json, pathlib, sys

old, new = map(pathlib.Path, sys.argv[1:])

def untimed(line):
    record = json.loads(line)
    return {key: value for key, value in record.items() if not key.startswith(("time/", "device/")) and not key.endswith("_per_s")}

def content(path):
    if path.name == "metrics.jsonl":
        return [untimed(line) for line in path.read_text().splitlines()]
    return path.read_bytes()

def files(folder):
    kept = (".safetensors", ".jsonl", ".json", ".toml", "finished")
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name.endswith(kept)}

wrong = [f"{path}: only in one" for path in sorted(files(old) ^ files(new))]
both = sorted(files(old) & files(new))
wrong += [f"{path}: differs" for path in both if content(old / path) != content(new / path)]
print("\n".join(wrong) or f"{len(both)} files are the same")
sys.exit(bool(wrong))
PYTHON

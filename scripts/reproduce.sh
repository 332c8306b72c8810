#!/usr/bin/env bash
# The paper's tables, figures and claims (Havrilla et al. 2024, arXiv 2403.04642), by one command:
#
#     scripts/reproduce.sh [--profile smoke|cpu|gpu] [--benchmark synthetic|gsm8k|svamp] [--data-dir DIR] [--out DIR]
#       [--seeds N | --seed S] [--only table-1,figure-rounds,ppo,…] [--small-only | --large-only]
#       [--init-small PATH] [--init-large PATH] [-- FLAG …]
#
# For example: all of it in a few minutes; two tables, for the first seed alone; a benchmark and models of others:
#
#     scripts/reproduce.sh --profile smoke
#     scripts/reproduce.sh --only table-1,table-6 --seed 0
#     scripts/reproduce.sh --profile gpu --benchmark gsm8k --data-dir DATA --init-small hf:HuggingFaceTB/SmolLM2-135M
#
# smoke   a few minutes: that all of it works, on sixteen problems; its figures mean nothing
# cpu     two sizes of model and three seeds on two cores; the budgets are below, the hours in docs/results. With --init-small what
#         fits a few hours of one core: adapters for a small pretrained model
# gpu     the paper's own settings, for published models (--init-small, --init-large)
#
# Without flags: cpu, synthetic, three seeds (one with smoke and with --init-small; two decide little), into runs/reproduce-PROFILE-BENCHMARK, followed by the name of
# --init-small where one is given. The other benchmarks are read from --data-dir. --only takes names of runs, table-1 to table-6,
# table-numbers, figure-rounds, figure-samples, figure-epochs, figure-value and claims; and table-differences, for which nothing is run:
# it is of what there is.
#
# Every line of `study` below is one run: its name, the tables and figures that show it, what it starts from, and the command.
# A run leaves OUT/SIZE-seedS/NAME (its directory) and OUT/SIZE-seedS/results/NAME.json (what it came to, a few kilobytes).
# What has a result is not run again; what was interrupted goes on. So it can be stopped at any time, and moved to another
# machine by copying the folders `results` alone: what a later run starts from is then made again, with the same seed (and to the same
# digits between two makes of processor, not between any two: docs/results).
# --seed S and --small-only or --large-only are for one folder SIZE-seedS at a time: several of the script may then work in one OUT, on a
# core each. The minutes that it tells are what the same runs have taken, with what had to be made for them first.
# FLAG … go to every command (--threads 1, say). The programs are those of this checkout, built first, or those of the folder BIN.
set -euo pipefail
here=$(dirname "$0") profile=cpu benchmark=synthetic data=() out="" seeds="" one_seed="" only="" one_size="" first_seed=0 inits=("" "") flags=()
fail() { echo "error: $1; see $0 --help" >&2 && exit 2; }
while (($#)); do
  case $1 in
  --profile | --benchmark | --data-dir | --out | --seeds | --seed | --only | --init-small | --init-large)
    (($# > 1)) || fail "$1 needs a value"
    ;;&
  --profile) profile=$2 && shift 2 ;;
  --benchmark) benchmark=$2 && shift 2 ;;
  --data-dir) data=(--data-dir "$2") && shift 2 ;;
  --out) out=$2 && shift 2 ;;
  --seeds) [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--seeds $2 is no number above 0" && seeds=$2 && shift 2 ;;
  --seed) [[ $2 =~ ^(0|[1-9][0-9]*)$ ]] || fail "--seed $2 is no number" && one_seed=$2 && shift 2 ;;
  --only) only=,${2// /}, && shift 2 ;;
  --small-only | --large-only) one_size=$1 && shift ;;
  --init-small) inits[0]=$2 && shift 2 ;;
  --init-large) inits[1]=$2 && shift 2 ;;
  --) shift && flags=("$@") && break ;;
  -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;;
  *) fail "unknown flag $1" ;;
  esac
done
case $profile in smoke | cpu | gpu) ;; *) fail "no profile $profile: smoke, cpu or gpu" ;; esac
if [ -n "${inits[1]}" ] && [ -z "${inits[0]}" ]; then fail "--init-large needs --init-small"; fi
if [ "$profile" = gpu ] && [ -z "${inits[0]}" ]; then fail "the profile gpu is for published models: give --init-small"; fi
if [ -n "$one_seed" ]; then
  [ -z "$seeds" ] || fail "--seed and --seeds exclude each other"
  first_seed=$one_seed seeds=$((one_seed + 1))
fi
case $benchmark:${data[*]} in gsm8k: | svamp:) [ -n "${RL_DATA_DIR:-}" ] || fail "--benchmark $benchmark needs --data-dir" ;; esac
# Results of other models are other results.
out=${out:-runs/reproduce-$profile-$benchmark${inits[0]:+-$(basename "${inits[0]}")}} bin=${BIN:-$here/../target/release}
if [ -z "${BIN:-}" ]; then cargo build --quiet --release --workspace --manifest-path "$here/../Cargo.toml"; fi

# The budgets. K of Expert Iteration, which the reward model learns from as well; samples of a report; what differs from the
# defaults of each command.
k=96 rounds=4 base_rounds=5 shots=2 report_samples=96 sizes=(nano tiny)
all=(--benchmark "$benchmark" "${data[@]}") looks=() tests=(--test-problems 100 --test-samples 1) report=()
sft=() orm=() ei=() rcrl=() ppo=() critic=() augment=()
# PPO from the base: its temperature, another to compare with, solved problems before a question, and what else differs.
warmth=0.2 other=(hot 0.7) ppo_shots="" ppo_base=()
# The first round of Expert Iteration without a gain ends it, as in the results that are kept.
patience=1
budget=$profile
if [ "$profile" = cpu ] && [ -n "${inits[0]}" ]; then budget=pretrained; fi
case $budget in
smoke)
  # What gains nothing in four steps has its second round all the same.
  patience=2
  seeds=${seeds:-1} k=4 rounds=2 base_rounds=2 shots=0 report_samples=4 sizes=(tiny)
  all+=(--limit 16 --max-new-tokens 96) looks=(--eval-problems 4) tests=(--test-problems 4 --test-samples 1)
  report=(--limit 8 --max-new-tokens 96)
  sft=(--steps 4 --eval-every 2) orm=(--steps 4 --check-labels 4 --check-completions 4) ei=("${sft[@]}") rcrl=("${sft[@]}")
  augment=("${sft[@]}" --agree 0)
  ppo=(--steps 2 --questions 4 --samples 2 --mini-batch 4 --eval-every 1) critic=(--value-warm-up 0)
  ;;
cpu)
  seeds=${seeds:-3} k=16 rounds=3 base_rounds=3 looks=(--eval-problems 400)
  # As long from the base as it takes: after 1,000 steps Expert Iteration's policy is not better than the SFT model's 1,500.
  ei=(--steps 2000) rcrl=(--steps 2000) orm=(--eval-every 400 --learning-rate 1e-3 --check-labels 200) report=(--limit 400 --max-new-tokens 112)
  ppo=(--eval-every 4)
  # What was seen to climb (docs/methods.md); without solved problems, for the length of a row.
  warmth=0.7 other=(cold 0.2) ppo_shots=0
  ppo_base=(--questions 128 --mini-batch 256 --steps 48 --learning-rate 3e-4 --eval-every 6)
  ;;
pretrained)
  # What an hour of one core is enough for, each, with 135 million parameters: 1,000 training questions, adapters, 100 test questions.
  seeds=${seeds:-1} k=8 rounds=1 base_rounds=1 report_samples=8 all+=(--limit 1000 --max-new-tokens 64) looks=(--eval-problems 50)
  adapters=(--lora-rank 16 --lora-alpha 32) report=(--limit 100 --max-new-tokens 64)
  sft=("${adapters[@]}" --learning-rate 5e-4 --epochs 3 --eval-every 63) ei=("${sft[@]}") rcrl=("${sft[@]}")
  orm=("${adapters[@]}" --learning-rate 5e-4 --steps 40 --eval-every 20) augment=(--learning-rate 5e-5)
  ppo=("${adapters[@]}" --learning-rate 5e-5 --temperature 1 --steps 30 --questions 16 --samples 4)
  ppo+=(--mini-batch 32 --ppo-epochs 1 --eval-every 10) critic=(--value-learning-rate 2e-4 --value-layers 4)
  ;;
gpu)
  seeds=${seeds:-3}
  sft=(--batch-size 128 --learning-rate 2e-5) ei=("${sft[@]}") rcrl=("${sft[@]}") orm=("${sft[@]}" --check-labels 200)
  augment=("${sft[@]}")
  ppo=(--questions 256 --ppo-epochs 4 --mini-batch 256 --learning-rate 1e-6 --lora-rank 128 --steps 1000)
  critic=(--value-layers 4 --lambda 0.95 --value-learning-rate 1e-6 --value-warm-up 0)
  ;;
esac
ei+=(--patience "$patience")
ppo_shots=${ppo_shots:-$shots}
if [ -n "${inits[0]}" ]; then sizes=(small-model large-model); fi
if [ -n "${inits[0]}" ] && [ -z "${inits[1]}" ]; then sizes=("${sizes[0]}"); fi
if [ "$one_size" = --large-only ] && ((${#sizes[@]} < 2)); then fail "--large-only needs --init-large"; fi
# The third table is of the second benchmark.
third="" numbers="" made=(table-1 table-2 table-5 figure-rounds figure-samples)
# Ablations are of the smaller size alone.
if [ "$one_size" != --large-only ]; then made+=(table-4 table-6 figure-epochs figure-value); fi
# Where methods gain and lose: problems that are known without a file.
if [ "$benchmark" = synthetic ]; then numbers=table-numbers made+=(table-numbers); fi
if [ "$benchmark" = svamp ]; then third=table-3 made=(table-3 figure-rounds figure-samples); fi
made+=(table-differences claims)

# What runs start from: each makes what it needs, once.
base() { if [ -z "$init" ]; then run base pretrain; fi; }
sft() { base && run sft sft --init "$base" "${sft[@]}"; }
orm() {
  sft
  run orm orm --init "$dir/sft" --samples "$k" --temperature 1 --judge-after tokens --per-question 8 "${orm[@]}"
}
ei() { orm && run ei ei "${from_sft[@]}" "${drawn[@]}" "${many[@]}" "${ei[@]}"; }
# The reward model again, in which the likelihood to Expert Iteration's policy counts as well.
orm-likelihood() {
  ei
  if [ -f "$dir/orm-likelihood/counted" ]; then return; fi
  rm -rf "$dir/orm-likelihood" && cp -r "$dir/orm" "$dir/orm-likelihood" || exit
  "$bin/rl" orm --resume "$dir/orm-likelihood" --likelihood-of "$dir/ei" --check-labels 0 "${flags[@]}" || exit
  touch "$dir/orm-likelihood/counted"
}
rcrl() { ei && run rcrl rcrl "${by_ei[@]}" --samples 4 --temperature 1 "${rcrl[@]}"; }
# More problems, made of the SFT model's samples.
augment() { orm && run augment augment --init "$dir/sft" --base "$base" "${drawn[@]}" $per_question 2 --temperature 1 "${augment[@]}"; }
rcrl-1() { rcrl && run rcrl-1 rcrl "${by_ei[@]}" "${sparse[@]}" --right-per-wrong 1 "${rcrl[@]}"; }
ei-base() { base && run ei-base ei "${from_base[@]}" --samples "$k" --rounds "$base_rounds" "${ei[@]}"; }

# One size and seed: NAME, who shows it, what it starts from, command and flags.
study() {
  local judge=orm
  from_sft=(--init "$dir/sft" --base "$base") from_base=(--init "$base" --base "$base" --start base --shots "$shots")
  drawn=(--from-samples "$dir/orm/samples.jsonl") by_ei=(--init "$dir/ei" --base "$base")
  per_question=--from-samples-per-question prompted=(--init "$base" --shots "$ppo_shots" "${ppo[@]}" "${critic[@]}" "${ppo_base[@]}")
  of_sft=(--init "$dir/sft" "${ppo[@]}" "${critic[@]}") no_critic=(--init "$dir/sft" "${ppo[@]}")
  with_orm=(--orm "$dir/orm") many=(--samples "$k" --rounds "$rounds")
  sparse=(--from-samples "$dir/rcrl/samples.jsonl" --labels outcome) drawn_of_base=(--from-samples "$dir/ei-base/samples.jsonl")

  asked="--shots $shots" try base "table-2 $numbers $third claims" base
  try sft "table-1 $numbers $third figure-epochs figure-rounds figure-samples claims" sft
  try orm "table-1" orm
  of=sft judge=orm-likelihood run_of=orm-likelihood try sft-likelihood "table-1" orm-likelihood
  # From SFT.
  try ei "table-1 $numbers $third table-5 figure-rounds figure-samples claims" ei
  try ppo "table-1 $numbers $third table-6 figure-samples figure-value claims" sft ppo "${of_sft[@]}"
  try ppo-dense "table-1 $numbers claims" sft ppo "${of_sft[@]}" --reward dense
  try ppo-sparse-orm "table-1 $numbers claims" orm ppo "${of_sft[@]}" --reward sparse-orm "${with_orm[@]}"
  try ppo-dense-orm "table-1 $numbers claims" orm ppo "${of_sft[@]}" --reward dense-orm "${with_orm[@]}"
  # The same without a critic: GRPO's advantages, and RLOO's.
  for kind in group rloo; do
    try ppo-$kind "table-1 $numbers" sft ppo "${no_critic[@]}" --advantage $kind
  done
  try ei-orm "table-1 $numbers claims" orm ei "${from_sft[@]}" "${drawn[@]}" "${many[@]}" "${with_orm[@]}" "${ei[@]}"
  # Every chain of calculations once, however it is told: what keeps hard questions from being a small part of the examples.
  try ei-trace "table-1 $numbers" orm ei "${from_sft[@]}" "${drawn[@]}" "${many[@]}" --deduplicate trace "${ei[@]}"
  try rcrl "table-1 $numbers claims" rcrl
  asked="--goal bad" of=rcrl try rcrl-bad "table-1 claims" rcrl
  # From the base, after a few solved problems.
  try ei-base "table-2 $third table-5 figure-rounds figure-samples claims" ei-base
  asked="--shots $ppo_shots" try ppo-base "table-2 $third figure-samples claims" base ppo "${prompted[@]}" --temperature "$warmth"
  for reward in sparse-orm dense-orm; do
    asked="--shots $ppo_shots" try ppo-base-$reward "table-2 claims" orm ppo "${prompted[@]}" --temperature "$warmth" --reward $reward \
      "${with_orm[@]}"
  done
  try ei-base-orm "table-2 claims" ei-base ei "${from_base[@]}" "${drawn_of_base[@]}" $per_question "$k" \
    "${with_orm[@]}" --samples "$k" --rounds "$base_rounds" "${ei[@]}"
  # Ablations, of the smaller size. No reward model chooses among their samples.
  if [ "$size" != "${sizes[0]}" ] || [ "$benchmark" = svamp ]; then return; fi
  judge=none
  for passes in 1 2 8; do
    last=yes try sft-$passes "figure-epochs claims" base sft --init "$base" "${sft[@]}" --epochs $passes
  done
  last=yes of=sft try sft-4 "figure-epochs" sft
  try sft-augmented "" augment sft --init "$base" "${sft[@]}" --extra "$dir/augment/augmented.jsonl"
  try ppo-plr "table-6 claims" sft ppo "${of_sft[@]}" --curriculum plr
  try ppo-backtracking "table-6 claims" sft ppo "${of_sft[@]}" --curriculum backtracking
  try ppo-shared "figure-value claims" sft ppo "${of_sft[@]}" --value-shares-trunk
  try ppo-no-kl "claims" sft ppo "${of_sft[@]}" --kl-coefficient 0
  asked="--shots $ppo_shots" try "ppo-base-${other[0]}" "claims" base ppo "${prompted[@]}" --temperature "${other[1]}"
  try ei-k4 "figure-rounds figure-samples claims" orm ei "${from_sft[@]}" "${drawn[@]}" $per_question 4 --samples 4 \
    --rounds $((rounds + 1)) "${ei[@]}"
  try ei-base-k4 "figure-samples claims" ei-base ei "${from_base[@]}" "${drawn_of_base[@]}" $per_question 4 \
    --samples 4 --rounds $((base_rounds + 1)) "${ei[@]}"
  try ei-last "figure-rounds claims" orm ei "${from_sft[@]}" "${drawn[@]}" "${many[@]}" --reset-to last "${ei[@]}"
  try ei-minimal "table-4 claims" orm ei "${from_sft[@]}" "${drawn[@]}" $per_question 1 --samples 1 --rounds 1 "${ei[@]}"
  for ratio in 100 10; do
    try rcrl-$ratio "table-4 claims" rcrl rcrl "${by_ei[@]}" "${sparse[@]}" --right-per-wrong $ratio "${rcrl[@]}"
  done
  try rcrl-1 "table-4 claims" rcrl-1
  asked="--goal bad" of=rcrl-1 try rcrl-1-bad "table-4 claims" rcrl-1
}

# try NAME SHOWN-BY FROM COMMAND FLAG …: a run and what it is worth, where it is asked for and not done.
try() {
  local name=$1 shown_by=$2 from=$3 started=$SECONDS fresh=yes
  shift 3
  wanted "$name" "$shown_by" || return 0
  if [ -d "$dir/$name" ]; then fresh=""; fi
  # Not `set -e` alone: it is off in whatever stands before an `&&`.
  "$from" || exit
  if (($#)); then run "$name" "$@"; fi
  keep "$name"
  # What was gone on with took longer than this part of it.
  if [ -n "$fresh" ]; then printf '%s %s\t%s\n' "$size" "$name" $((SECONDS - started)) >>"$out/times.tsv"; fi
}

# Whether a run is still to do: counted in the first pass, done in the second.
wanted() {
  known+=" $1 $2 "
  [ ! -f "$dir/results/$1.json" ] && shown "$1 $2" || return 1
  if [ "$pass" = count ]; then left+=("$size $1") && return 1; fi
  echo "== $size, seed $seed: $1 ($((++number)) of ${#left[@]}$(expected))"
}

# Whether any of some runs, tables and figures is asked for.
shown() {
  local what
  [ -n "$only" ] || return 0
  for what in $1; do [[ $only != *,$what,* ]] || return 0; done
  return 1
}

# How long what is left takes, by what the same runs of the same size have taken: here, or else in the results that are kept.
expected() {
  local earlier=$here/../docs/results/$profile-$benchmark/times.tsv
  cat "$earlier" "$out/times.tsv" 2>/dev/null |
    kept=$(cat "$earlier" 2>/dev/null | wc -l) runs=$(printf '%s\n' "${left[@]:number-1}") awk -F '\t' '
    NR > ENVIRON["kept"] + 0 && !($1 in here) { here[$1] = 1; sum[$1] = count[$1] = 0 }
    { sum[$1] += $2; count[$1]++ }
    END {
      for (n = split(ENVIRON["runs"], run, "\n"); n > 0; n--) if (run[n] in sum) total += sum[run[n]] / count[run[n]]; else unknown++
      printf ", %d min left", total / 60
      if (unknown) printf " and %d runs of unknown length", unknown
    }'
}

# run NAME COMMAND FLAG …: one run directory, gone on with where it was interrupted.
run() {
  local name=$1 command=$2 path=$dir/$1 more=()
  shift 2
  if [ -f "$path/finished" ]; then return; fi
  if [ -f "$path/checkpoints/index.json" ]; then
    "$bin/rl" "$command" --resume "$path" "${flags[@]}" || exit
  else
    rm -rf "$path"
    case $command in
    pretrain) ;;
    orm | augment) more=("${looks[@]}") ;;
    *) more=("${looks[@]}" "${tests[@]}") ;;
    esac
    "$bin/rl" "$command" --seed "$seed" "${model[@]}" "${all[@]}" "${more[@]}" --out "$path" "${flags[@]}" "$@" || exit
  fi
  touch "$path/finished"
}

# keep NAME: its report on the test split, and all that is shown of it in one small file.
keep() {
  local name=$1 path=$dir/${of:-$1} report_of=() judged=() drawn=()
  if [ "$name" != orm ]; then
    if [ "$judge" != none ]; then
      orm || exit
      judged=(--orm "$dir/$judge")
    fi
    if [ "$name" = base ]; then path=$base; fi
    # Passes of SFT are compared as they end, not where they were best on validation.
    if [ -n "${last:-}" ]; then
      path=$path/checkpoints/$(sed -n 's/.*"last": *"\([^"]*\)".*/\1/p' "$path/checkpoints/index.json")
    fi
    mkdir -p "$dir/reports"
    # Two reward models judge the same samples of the SFT model.
    case $name in
    sft) drawn=(--save-samples "$dir/reports/sft.jsonl") ;;
    sft-likelihood) if [ -f "$dir/reports/sft.jsonl" ]; then drawn=(--from-samples "$dir/reports/sft.jsonl"); fi ;;
    esac
    report_of=(--report "$dir/reports/$name.json" --by-question "$dir/reports/$name.by-question.json")
    # shellcheck disable=SC2086
    "$bin/eval" run --checkpoint "$path" "${judged[@]}" "${drawn[@]}" --samples "$report_samples" --benchmark "$benchmark" "${data[@]}" \
      --out "${report_of[1]}" --by-question "${report_of[3]}" "${report[@]}" "${flags[@]}" ${asked:-}
  fi
  if [ -d "$dir/${run_of:-${of:-$1}}" ]; then report_of+=(--run "$dir/${run_of:-${of:-$1}}"); fi
  "$bin/collect" "${report_of[@]}" --model "$size" --seed "$seed" --out "$dir/results/$name.json"
}

mkdir -p "$out"
if [ "$profile" = smoke ] && [ -z "${inits[0]}" ]; then
  # What stands for a pretrained model knows the sixteen problems, more or less: every method finds something right.
  inits[0]=$out/knows
  if [ ! -f "$out/knows/finished" ]; then
    rm -rf "$out/pretrained" "$out/knows"
    "$bin/rl" pretrain --steps 6 --batch-size 4 --eval-every 6 --out "$out/pretrained" "${flags[@]}"
    # Not all of them, or there is nothing to tell apart.
    steps=120
    if [ "$benchmark" = svamp ]; then steps=50; fi
    "$bin/rl" sft "${all[@]}" --init "$out/pretrained" --steps $steps --batch-size 8 --learning-rate 4e-3 --eval-every $steps \
      "${looks[@]}" "${tests[@]}" --out "$out/knows" "${flags[@]}"
    touch "$out/knows/finished"
  fi
fi
left=() number=0 known="table-differences $third"
if [ "$profile" = smoke ]; then known+=" table-3"; fi
for pass in count run; do
  for ((seed = first_seed; seed < seeds; seed++)); do
    for place in "${!sizes[@]}"; do
      case $one_size:$place in --small-only:1 | --large-only:0) continue ;; esac
      size=${sizes[place]} init=${inits[place]:-} dir=$out/${sizes[place]}-seed$seed
      model=(--model "$size") base=$dir/base
      if [ -n "$init" ]; then model=() base=$init; fi
      study
    done
  done
  if [ "$pass" = count ]; then
    for what in ${only//,/ }; do [[ " $known " == *" $what "* ]] || fail "--only $what names no run, table or figure of what is made here"; done
    echo "${#left[@]} runs to do in $out"
  fi
done

for what in "${made[@]}"; do
  if shown "$what"; then "$bin/$what" "$out" --out "$out/tables" >/dev/null; fi
done
if [ "$profile" = smoke ] && [ "$benchmark" = synthetic ] && shown table-3; then
  BIN=$bin "$0" --profile smoke --benchmark svamp --data-dir "$here/../data/tests/fixtures" --out "$out-svamp" --only table-3 -- "${flags[@]}"
  mkdir -p "$out/tables" && cp "$out-svamp"/tables/table-3.* "$out/tables"
fi
page=$("$bin/index" "$out")
if [ -d "$out/tables" ]; then echo "tables, figures and claims are in $out/tables"; fi
echo "all that was made is on one page: $page"

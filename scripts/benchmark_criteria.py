#!/usr/bin/env python3
"""Measures whether an embedded benchmark is what it is meant to be, on supervised fine-tuning alone.

For one size and seed: pretrains, fine-tunes for several numbers of passes, samples the test questions and the training
questions, and prints one table of criteria with what was measured (docs/benchmarks.md). Everything is kept under --out, and
what is there already is not made again.

    cargo build --workspace --release --bins --examples
    scripts/benchmark_criteria.py --benchmark synthetic --model nano --seed 0 --out /tmp/criteria
"""

import argparse
import json
import re
import resource
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from math import comb
from pathlib import Path

CALCULATION = re.compile(r"<<([^<>]*)>>")
PROBLEM = re.compile(r"^\[(\S+/\d+)\]$")
TEMPERATURE = 0.7
# pass@K of the questions with as many steps.
SPREAD = (0.3, 0.95)


def main():
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--benchmark", default="synthetic")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrain-steps", type=int, help="optimiser steps of the base model; default: as many as its size has")
    parser.add_argument("--passes", default="1,4,16,48", help="passes over the reference problems, with commas")
    parser.add_argument("--main", type=int, default=4, help="the number of passes whose model RL starts from")
    parser.add_argument("--problems", type=int, default=300, help="test questions")
    parser.add_argument("--samples", type=int, default=96, help="samples per test question")
    parser.add_argument("--train-samples", type=int, default=2, help="samples per training question; 0 for none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bin", type=Path, default=Path("target/release"), help="folder of rl, eval and examples/")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    steps = steps_by_question(args)
    pretrain = ["pretrain", "--benchmark", args.benchmark, "--model", args.model]
    pretrain += [] if args.pretrain_steps is None else ["--steps", args.pretrain_steps]
    base = trained(args, "base", pretrain)
    reports = {}
    for passes in [int(text) for text in args.passes.split(",")]:
        options = ["--benchmark", args.benchmark, "--model", args.model, "--epochs", str(passes)]
        options += ["--init", str(args.out / "base"), "--test-problems", "0", "--eval-problems", "1", "--eval-every", "1000000"]
        run = trained(args, f"sft-{passes}", ["sft", *options])
        rows = sampled(args, passes, "test", args.problems, args.samples)
        reports[passes] = {"cpu_s": run, **test_report(rows, steps)}
        if passes == args.main and args.train_samples > 0:
            rows = sampled(args, passes, "train", None, args.train_samples)
            reports[passes]["train"] = sum(row["correct"] for _, drawn in rows for row in drawn) / sum(
                len(drawn) for _, drawn in rows
            )
    print(table(args, base, reports))


def command(args, *words):
    """Runs a command with its output in a file; the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{result.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def trained(args, name, words):
    """The run directory of a command under --out, made if it is not there; its CPU seconds."""
    seconds = args.out / f"{name}.cpu_s"
    if not seconds.exists():
        options = ["--seed", args.seed, "--threads", args.threads, "--quiet", "--out", args.out / name]
        seconds.write_text(f"{command(args, args.bin / 'rl', *words, *options):.1f}\n")
    return float(seconds.read_text())


def sampled(args, passes, split, limit, samples):
    """The samples of the last checkpoint on a split: for each question the greedy one and those drawn."""
    file = args.out / f"samples-{passes}-{split}.jsonl"
    if not file.exists():
        last = sorted((args.out / f"sft-{passes}" / "checkpoints").glob("step-*"))[-1]
        words = ["run", "--checkpoint", last, "--benchmark", args.benchmark, "--split", split, "--samples", samples]
        words += ["--temperature", TEMPERATURE, "--seed", args.seed]
        words += [] if limit is None else ["--limit", limit]
        unfinished = file.with_suffix(".part")
        command(args, args.bin / "eval", *words, "--save-samples", unfinished)
        unfinished.rename(file)
    by_question = defaultdict(list)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_question[row["id"]].append(row)
    # The greedy sample comes first.
    return [(rows[0], rows[1:]) for rows in by_question.values()]


def steps_by_question(args):
    """The number of calculations of each test question's worked solution."""
    shown = [str(args.bin / "examples/show_synthetic"), args.benchmark, "test", "1000000", "0"]
    text = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    steps, question = {}, None
    for line in text.splitlines():
        if match := PROBLEM.match(line):
            question = match.group(1)
            steps[question] = 0
        elif question is not None:
            steps[question] += len(CALCULATION.findall(line))
    return steps


def value(expression):
    """The value of a calculation of numbers; an error where it is none."""
    if not re.fullmatch(r"(?:[-+*/() ]|\d+(?:\.\d+)?(?![.\d]))+", expression):
        raise ValueError(expression)
    exact = re.sub(r"\d+(?:\.\d+)?", lambda number: f"Fraction('{number.group()}')", expression)
    return eval(exact, {"__builtins__": {}, "Fraction": Fraction})  # pylint: disable=eval-used


def holds(equation):
    """Whether a calculation comes to what stands behind its equals sign, to two decimals."""
    try:
        expression, result = equation.split("=")
        return abs(value(expression) - Fraction(result)) <= Fraction(1, 200)
    except (ValueError, SyntaxError, ZeroDivisionError, TypeError):
        return False


def pass_at(right, drawn, k):
    """The unbiased estimate of pass@k from `right` of `drawn` samples (Chen et al. 2021)."""
    return 1 - comb(drawn - right, k) / comb(drawn, k) if drawn >= k else float("nan")


def mean(values):
    """The mean; not a number where there is none."""
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


def test_report(rows, steps):
    """All that is read off the samples of the test questions."""
    drawn = [row for _, samples in rows for row in samples]
    calculations = [[holds(found) for found in CALCULATION.findall(row["completion"])] for row in drawn]
    written = [one for found in calculations for one in found]
    wrong = [found for row, found in zip(drawn, calculations) if not row["correct"]]
    counts = [(sum(row["correct"] for row in samples), len(samples)) for _, samples in rows]
    by_steps = defaultdict(list)
    for (greedy, _), count in zip(rows, counts):
        by_steps[steps[greedy["id"]]].append(count)
    k = min(16, counts[0][1])
    reached = {step: mean(right > 0 for right, _ in some) for step, some in by_steps.items()}
    return {
        "maj": mean(greedy["correct"] for greedy, _ in rows),
        "mean": mean(right / all_ for right, all_ in counts),
        "pass16": mean(pass_at(right, all_, k) for right, all_ in counts),
        "pass_all": mean(right > 0 for right, _ in counts),
        "hold": mean(written),
        "false": mean(not all(found) for found in wrong),
        "spread": mean(SPREAD[0] <= reached[steps[greedy["id"]]] <= SPREAD[1] for greedy, _ in rows),
        "by_steps": {
            step: (len(some), mean(r / n for r, n in some), reached[step])
            for step, some in sorted(by_steps.items())
        },
    }


def table(args, base, reports):
    """The table of criteria, and the table by number of passes and of steps."""
    main_report = reports[args.main]
    shortest, longest = reports[args.main], reports[max(reports)]
    lines = [f"{args.benchmark}, {args.model}, seed {args.seed}: base {base:.0f} CPU s"]
    lines += ["", "| passes | CPU s | maj@1 | mean p | pass@16 | pass@K | calculations hold | wrong with a false one |"]
    lines += ["| --- " * 8 + "|"]
    for passes, report in sorted(reports.items()):
        numbers = [report[key] for key in ("maj", "mean", "pass16", "pass_all", "hold", "false")]
        lines.append(f"| {passes} | {report['cpu_s']:.0f} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
    lines += ["", f"| steps | questions | mean p after {args.main} passes | pass@K |", "| --- " * 4 + "|"]
    for step, (count, probability, reached) in main_report["by_steps"].items():
        lines.append(f"| {step} | {count} | {probability:.3f} | {reached:.3f} |")
    criteria = [
        ("calculations hold", ">= 0.97", main_report["hold"], main_report["hold"] >= 0.97),
        ("wrong samples with a false calculation", "< 0.25", main_report["false"], main_report["false"] < 0.25),
        ("questions of numbers of steps with pass@K in 0.3 to 0.95", ">= 0.5", main_report["spread"], main_report["spread"] >= 0.5),
        ("maj@1", "0.3 to 0.5", main_report["maj"], 0.3 <= main_report["maj"] <= 0.5),
        ("maj@1 gained by long SFT", "> 0", longest["maj"] - shortest["maj"], longest["maj"] > shortest["maj"]),
        (
            "pass@K lost by long SFT",
            "> 0",
            shortest["pass_all"] - longest["pass_all"],
            longest["pass_all"] < shortest["pass_all"],
        ),
    ]
    if "train" in main_report:
        share = main_report["train"]
        criteria.append(("right samples on the training questions", "0.3 to 0.75", share, 0.3 <= share <= 0.75))
    lines += ["", f"| criterion, after {args.main} passes | wanted | measured | met |", "| --- " * 4 + "|"]
    lines += [f"| {name} | {wanted} | {number:.3f} | {'yes' if met else 'no'} |" for name, wanted, number, met in criteria]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares the metrics of two runs of the same command, on two devices say.

    python3 scripts/compare_runs.py RUN OTHER [--tolerance 1e-3]

Ends with 1 where a number of `metrics.jsonl`, clocks and memory aside, differs by more than the tolerance, absolutely and as a share,
or where one of the runs has a number or a step that the other has not. Prints the largest difference, and how many samples are the same.
"""

import argparse
import json
import pathlib
import sys


def lines(run, name):
    return [json.loads(line) for line in (pathlib.Path(run) / name).read_text().splitlines()]


def measured(line):
    apart = ("time/", "device/")
    return {name: value for name, value in line.items() if not name.startswith(apart) and not name.endswith("_per_s")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("other")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    args = parser.parse_args()
    first, second = (list(map(measured, lines(run, "metrics.jsonl"))) for run in (args.run, args.other))
    if len(first) != len(second) or any(a.keys() != b.keys() for a, b in zip(first, second)):
        sys.exit(f"error: {args.run} and {args.other} have not the same steps and metrics")
    differences = [(abs(a[name] - b[name]) / max(1.0, abs(a[name])), a["step"], name, a[name], b[name])
                   for a, b in zip(first, second) for name in a]
    largest, step, name, a, b = max(differences)
    samples, others = (lines(run, "samples.jsonl") for run in (args.run, args.other))
    same = sum(a["completion"] == b["completion"] for a, b in zip(samples, others))
    print(f"largest difference of {len(differences)} numbers: {largest:.1e} ({name}, step {step}: {a} and {b}); "
          f"{same} of {len(samples)} samples are the same")
    if not largest <= args.tolerance:
        sys.exit(f"error: more than {args.tolerance:.0e}")


if __name__ == "__main__":
    main()

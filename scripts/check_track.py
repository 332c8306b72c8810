#!/usr/bin/env python3
"""Compares what a tracker holds of a run with the files of the run.

    python3 scripts/check_track.py RUN [RUN ...] --to mlflow|trackio|wandb [--url URL] [--wandb-dir DIR] [--but-clocks]

Reads back, after `scripts/track.py`, by the API of an MLflow server, from trackio's database, or from the files of
wandb's offline mode. Every finite number of every step of `metrics.jsonl` must be there once, with the same 64-bit
value, and no step or metric beside them; the parameters are those of `config.toml`, the summary that of `eval.json`.
`--but-clocks` leaves out clocks, speeds and memory: a step that was repeated after a kill has others. Ends with 1
where something differs.
"""

import argparse
import collections
import json
import math
import pathlib
import sys

from compare_runs import lines, measured
from track import read_config, read_summary
from trackers import MLflow

BLOCK = 32768
"""Bytes of a block of a LevelDB log, the format of wandb's files."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", type=pathlib.Path)
    parser.add_argument("--to", required=True, choices=sorted(READERS))
    parser.add_argument("--url")
    parser.add_argument("--wandb-dir", default="wandb", type=pathlib.Path)
    parser.add_argument("--but-clocks", action="store_true")
    args = parser.parse_args()
    failed = [problem for run in args.runs for problem in check(run, args)]
    for problem in failed[:20]:
        print(f"error: {problem}")
    sys.exit(bool(failed))


def check(run, args):
    """What differs, as lines."""
    records = lines(run, f".track-{args.to}.jsonl")
    begun = [record for record in records if "run" in record][-1]
    points, params, summary = READERS[args.to](begun, args)
    key = MLflow(begun["project"], args.url).key if args.to == "mlflow" else str
    expected, not_finite = {}, 0
    for line in lines(run, "metrics.jsonl"):
        step = line.pop("step")
        finite = {name: value for name, value in line.items() if value is not None and math.isfinite(value)}
        not_finite += len(line) - len(finite)
        kept = measured(finite) if args.but_clocks else finite
        expected.update({(step, key(name)): float(value) for name, value in kept.items()})
    if args.but_clocks:
        points = [point for point in points if point[:2] in expected or measured({point[1]: 0})]
    counts = collections.Counter((step, name) for step, name, _ in points)
    found = {(step, name): value for step, name, value in points}
    problems = [f"{name} of step {step} is there {count} times" for (step, name), count in counts.items() if count > 1]
    problems += different(
        {f"{name} of step {step}": value for (step, name), value in expected.items()},
        {f"{name} of step {step}": value for (step, name), value in found.items()},
    )
    problems += [f"{name} of step {step} is not in the file" for step, name in found.keys() - expected.keys()]
    wanted = {key(name): str(value) if args.to == "mlflow" else value for name, value in read_config(run).items()}
    reports = {key(name): value for name, value in read_summary(run).items()}
    problems += different(wanted, params) + different(reports, summary)
    print(
        f"{run}: {len({step for step, _ in expected})} steps, {len(expected)} values ({not_finite} not finite), "
        f"{len(wanted)} parameters, {len(reports)} numbers of the summary: {len(problems)} differences"
    )
    return [f"{run}: {problem}" for problem in problems]


def different(expected, found):
    """A line for each name whose value is not the expected one."""
    pairs = ((name, value, found.get(name)) for name, value in expected.items())
    return [f"{name} is {other}, not {value}" for name, value, other in pairs if other != value]


# Readers: points as (step, name, value), parameters and summary by name.


def read_mlflow(begun, args):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=args.url)
    data = client.get_run(begun["run"]).data
    histories = {name: client.get_metric_history(begun["run"], name) for name in data.metrics}
    points = [
        (point.step, name, point.value)
        for name, history in histories.items()
        for point in history
        if not name.startswith("eval/")
    ]
    changed = {name.removeprefix("resumed."): value for name, value in data.tags.items() if name.startswith("resumed.")}
    return points, {**data.params, **changed}, data.metrics


def read_trackio(begun, _args):
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs(begun["project"], run=begun["name"], run_id=begun["run"])
    rows = [
        (log["step"], name, value) for log in logs for name, value in log.items() if name not in ("step", "timestamp")
    ]
    points = [point for point in rows if not point[1].startswith(("eval/", "table/"))]
    params = SQLiteStorage.get_run_config(begun["project"], begun["name"], run_id=begun["run"])
    return points, params, {name: value for _, name, value in rows if name.startswith("eval/")}


def read_wandb(begun, args):
    from wandb.proto.wandb_internal_pb2 import Record

    points, params, summary = [], {}, {}
    # A run that was continued offline has a file for each part.
    for path in sorted(args.wandb_dir.glob(f"offline-run-*-{begun['run']}/run-{begun['run']}.wandb")):
        for data in records_of(path.read_bytes()):
            record = Record.FromString(data)
            if record.HasField("history"):
                row = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                step = row.get("_step", record.history.step.num)
                points += [(step, name, value) for name, value in row.items() if not name.startswith("_")]
            for update in [*record.run.config.update, *record.config.update]:
                params[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
            for update in record.summary.update:
                summary[update.key or "/".join(update.nested_key)] = json.loads(update.value_json)
    return points, params, summary


def records_of(log):
    """The records of a LevelDB log behind wandb's header of 7 bytes: checksum, length and type, then the data."""
    place, record = 7, b""
    while place + 7 <= len(log):
        room = BLOCK - place % BLOCK
        if room < 7:
            place += room
            continue
        length, kind = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        record += log[place + 7 : place + 7 + length]
        place += 7 + length
        # A record in one piece, or the last piece of one.
        if kind in (1, 4):
            yield record
            record = b""


READERS = {"mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb}


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Sends the metrics of runs to an experiment tracker, while they train or afterwards.

    python3 scripts/track.py RUN [RUN ...] --to mlflow|trackio|wandb [--follow] [--project rl] [--name NAME] [--url URL]

Reads only files that a run leaves: every line of `metrics.jsonl` is one step, `config.toml` are the parameters,
`eval.json` the summary, and the first and last lines of `samples.jsonl` a table. A value that is not finite is null in
`metrics.jsonl`; that point is left out, as in TensorBoard. `--follow` reads on until the run has ended, that is until
no process holds its lock.

The same command continues where it stopped. `RUN/.track-TRACKER.jsonl` is a journal of the tracker's run and of the
steps that were sent, and mlflow and trackio are asked which steps they hold, so no step is sent twice. A resumed run
cuts `metrics.jsonl` back to its checkpoint and repeats the later steps. Repeated steps have the same numbers, clocks
and memory aside, and are not sent again. Where they differ, because a flag was changed, the tracker gets a new run
with all steps of the file.

Needs Python 3.11, and the package of the tracker.
"""

import argparse
import contextvars
import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import sys
import time
import tomllib

from compare_runs import measured
from trackers import TRACKERS, Mistake

try:
    import fcntl
except ImportError:  # No such locks on this system.
    fcntl = None

SAMPLES = 20
"""Lines of `samples.jsonl` from its beginning, and as many from its end, that a tracker gets."""


def main():
    args = arguments()
    runs = [pathlib.Path(run) for run in args.runs]
    try:
        for run in runs:
            if not args.follow and not (run / "metrics.jsonl").is_file():
                raise Mistake(f"{run} has no metrics.jsonl: give the directory of a run, or --follow to wait for it")
        if args.name and len(runs) > 1:
            raise Mistake("--name is for one run: several keep the names of their directories")
        track_all(runs, TRACKERS[args.to](args.project, args.url), args)
    except (Mistake, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped: the same command continues")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a run, such as runs/ppo")
    parser.add_argument("--to", required=True, choices=sorted(TRACKERS), help="the tracker")
    parser.add_argument(
        "--project", default="rl", help="project of trackio and wandb, experiment of mlflow (default: %(default)s)"
    )
    parser.add_argument("--name", help="name of the run in the tracker (default: that of its directory)")
    parser.add_argument("--follow", action="store_true", help="read on until the run has ended")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="pause of --follow (default: %(default)s)"
    )
    parser.add_argument(
        "--url", help="tracking URI of mlflow (default: MLFLOW_TRACKING_URI, else mlflow's own default)"
    )
    args = parser.parse_args()
    if args.url and args.to != "mlflow":
        parser.error("--url is the tracking URI of mlflow")
    return args


def track_all(runs, tracker, args):
    """Tracks every run until it has ended, or once without `--follow`."""
    waiting, tracked = list(runs), []
    for run in waiting:
        if not (run / "metrics.jsonl").is_file():
            print(f"waiting for {run}", flush=True)
    try:
        while True:
            for run in [run for run in waiting if (run / "metrics.jsonl").is_file()]:
                waiting.remove(run)
                tracked.append(Tracking(run, tracker, args.name or run.resolve().name))
            for tracking in tracked:
                tracking.advance(once=not args.follow)
            if not waiting and all(tracking.has_ended for tracking in tracked):
                return
            time.sleep(args.every)
    finally:
        for tracking in tracked:
            tracking.close()


# Files of a run


def read_lines(path, offset, last):
    """The complete lines of a file from `offset` on, and whether they continue what was read.

    A last line without a line break is still being written: it is left for the next call. `last` is the line that ends
    at `offset`. A resumed run keeps the first lines of the file only, so where that line is gone from its place, the
    file was cut, and all lines are returned.
    """
    with path.open("rb") as file:
        file.seek(offset - len(last))
        continues = file.read(len(last)) == last
        file.seek(offset if continues else 0)
        text = file.read()
    return text[: text.rfind(b"\n") + 1].splitlines(keepends=True), continues


def parse(line, path):
    """Step and finite values by name of a line of `metrics.jsonl`, and how many of its values are not finite."""
    try:
        values = json.loads(line)
        step = values.pop("step")
        finite = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Mistake(f"{path} has a malformed line: {line[:60].decode(errors='replace').strip()}") from error
    return step, finite, len(values) - len(finite)


def digest(values):
    """A digest of the numbers that a repetition of the step gives again: clocks, speeds and memory aside."""
    return hashlib.sha256(json.dumps(measured(values), sort_keys=True).encode()).hexdigest()[:16]


def is_locked(path):
    """Whether a process holds this lock. A killed process leaves the file, but no lock."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        if fcntl is None:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            # Also a file system without locks: there the file alone tells.
            return True
    return False


def is_running(run):
    """Whether a process writes into the directory of a run."""
    with (run / "config.toml").open() as file:
        is_part = file.readline().startswith("# part of")
    # A part of a run, such as a round of `ei`, lies one or two folders deeper.
    return any(is_locked(folder / ".lock") for folder in [run, *run.resolve().parents[: 2 * is_part]])


def status_of(run):
    """Whether a run is `running`, `finished`, or `stopped` before its end.

    `report.html` is the last file that a run writes; a resumed run has newer metrics.
    """
    if is_running(run):
        return "running"
    report, metrics = run / "report.html", run / "metrics.jsonl"
    is_finished = report.is_file() and report.stat().st_mtime >= metrics.stat().st_mtime
    return "finished" if is_finished and not (run / "interrupted-cpu-seconds").exists() else "stopped"


def read_config(run):
    """The configuration by key, tables flattened to `table.key`, and the command under `command`."""
    text = (run / "config.toml").read_text()
    command = text.partition("\n")[0].removeprefix("#").strip() if text.startswith("#") else ""
    return {"command": command, **dict(flat(tomllib.loads(text), "."))}


def read_summary(run):
    """The numbers of `eval.json` by name, as in `eval/after/maj@1`; intervals as `…/ci95_low` and `…/ci95_high`."""
    path = run / "eval.json"
    numbers = flat(json.loads(path.read_text()), "/") if path.is_file() else ()
    summary = {}
    for name, value in numbers:
        name = "eval/" + name.removesuffix("/value")
        if name.endswith("/ci95") and isinstance(value, list):
            summary[f"{name}_low"], summary[f"{name}_high"] = value
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            summary[name] = value
    return summary


def flat(table, separator, prefix=""):
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, separator, f"{prefix}{key}{separator}")
        else:
            yield prefix + key, value


def read_samples(run, count=SAMPLES):
    """The first and the last `count` samples of a run, each once, in the order of the file."""
    path = run / "samples.jsonl"
    if not path.is_file():
        return []
    with path.open("rb") as file:
        first = [line for line in itertools.islice(file, count) if line.endswith(b"\n")]
        window = 1 << 16
        start, end = file.tell(), path.stat().st_size
        while True:
            begin = max(start, end - window)
            file.seek(begin)
            rest = [line for line in file.read(end - begin).splitlines(keepends=True) if line.endswith(b"\n")]
            # The first line of a window may be a part of one.
            rest = rest if begin == start else rest[1:]
            if begin == start or len(rest) >= count:
                break
            window *= 4
    return [json.loads(line) for line in first + rest[-count:]]


# What was sent


@dataclasses.dataclass
class Journal:
    """What a tracker has of a run, in a file of JSON lines beside the metrics that only grows.

    Its records: `{"run", "name", "project", "url"}` begins a run of the tracker, `{"step", "digest"}` is a step that
    was sent, `{"config"}` and `{"summary"}` what was sent of the other files. One process at a time holds it.
    """

    path: pathlib.Path
    run: str | None = None
    name: str | None = None
    place: dict | None = None
    digests: dict = dataclasses.field(default_factory=dict)
    config: dict | None = None
    summary: str | None = None
    runs: int = 0

    def __post_init__(self):
        self.file = self.path.open("a+b")
        if fcntl:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.file.close()
                raise Mistake(f"{self.path.parent} is being tracked by another process") from None
            except OSError:
                pass  # A file system without locks.
        self.file.seek(0)
        text = self.file.read()
        # A process that was killed may leave a part of a line.
        complete = text[: text.rfind(b"\n") + 1]
        self.file.truncate(len(complete))
        for line in complete.splitlines():
            self.take(json.loads(line))

    def take(self, record):
        if "run" in record:
            self.run, self.name = record["run"], record["name"]
            self.place = {"project": record["project"], "url": record["url"]}
            self.digests, self.config, self.summary = {}, None, None
            self.runs += 1
        elif "step" in record:
            self.digests[record["step"]] = record["digest"]
        elif "config" in record:
            self.config = record["config"]
        elif "summary" in record:
            self.summary = record["summary"]

    def add(self, *records):
        for record in records:
            self.take(record)
        self.file.write("".join(json.dumps(record) + "\n" for record in records).encode())
        self.file.flush()

    def close(self):
        self.file.close()


def unsent(lines, digests, held):
    """The lines of a file that the tracker has not; None where it has one of their steps with other numbers.

    `lines` are steps with their values, `digests` the journal by step, `held` the steps that the tracker has. A step
    that it has and that the journal lacks was sent just before the process was killed.
    """
    left = []
    for step, values in lines:
        if step not in held:
            left.append((step, values))
        elif digests.get(step, digest(values)) != digest(values):
            return None
    return left


class Tracking:
    """One run on its way to a tracker."""

    def __init__(self, run, tracker, name):
        self.run, self.tracker, self.name = run, tracker, name
        self.metrics = run / "metrics.jsonl"
        self.offset, self.last = 0, b""
        self.held = set()
        self.has_ended, self.steps, self.values, self.not_finite = False, 0, 0, 0
        self.journal = Journal(run / f".track-{tracker.label}.jsonl")
        # trackio keeps its current run in a context variable, and ends it where another one begins.
        self.context = contextvars.copy_context()
        try:
            if self.journal.run is None:
                self.begin()
            else:
                self.resume()
        except BaseException:
            self.journal.close()
            raise

    def ask(self, function, *arguments):
        """Calls a function of the tracker."""
        try:
            return self.context.run(function, *arguments)
        except self.tracker.errors as error:
            raise Mistake(f"{self.tracker.label}: {str(error).splitlines()[0]}; the same command continues") from error

    def begin(self):
        """Begins a run of the tracker; a second one of the same directory has a number."""
        name = self.name if self.journal.runs == 0 else f"{self.name}-{self.journal.runs + 1}"
        config = read_config(self.run)
        identifier, name = self.ask(self.tracker.begin, name, config, self.run)
        self.journal.add({"run": identifier, "name": name, **self.tracker.place}, {"config": config})
        self.held = set()
        print(f"{self.run}: {self.tracker.label} run {name} ({identifier})", flush=True)

    def resume(self):
        """Goes on with the run of the journal."""
        if self.journal.place != self.tracker.place:
            place = " at ".join(filter(None, self.journal.place.values()))
            raise Mistake(
                f"{self.run} is tracked in {place}: give the same --project and --url, or remove {self.journal.path}"
            )
        try:
            self.context.run(self.tracker.resume, self.journal.run, self.journal.name, read_config(self.run))
        except self.tracker.errors as error:
            reason = f"{self.tracker.label} cannot resume run {self.journal.run}: {str(error).splitlines()[0]}"
            raise Mistake(f"{reason}; remove {self.journal.path} to begin another") from error
        lines, _ = read_lines(self.metrics, 0, b"")
        parsed = [parse(line, self.metrics) for line in lines]
        self.held = self.ask(
            self.tracker.held, self.journal.run, {next(iter(values)) for _, values, _ in parsed if values}
        )
        if self.held is None:
            self.held = set(self.journal.digests)
        print(f"{self.run}: {self.tracker.label} run {self.journal.name} ({self.journal.run}), goes on", flush=True)
        self.send_config()

    def advance(self, once):
        """Sends what is new; afterwards the summary, if the run has ended."""
        if self.has_ended:
            return
        # The status first: what a process wrote before it ended is then read below.
        status = status_of(self.run)
        self.send_metrics()
        self.has_ended = once or status != "running"
        if self.has_ended:
            if status != "running":
                self.send_summary()
            self.ask(self.tracker.end, self.journal.run, status, self.metrics.stat().st_mtime)
            left_out = f"; left out as not finite: {self.not_finite}" if self.not_finite else ""
            print(f"{self.run}: {status}, {self.steps} steps sent ({self.values} values{left_out})", flush=True)

    def send_metrics(self):
        lines, continues = read_lines(self.metrics, self.offset, self.last)
        if not continues:
            print(f"{self.run}: metrics.jsonl was cut back to a checkpoint", flush=True)
            self.offset, self.last = 0, b""
            self.send_config()
        if not lines:
            return
        parsed = [parse(line, self.metrics) for line in lines]
        left = unsent([line[:2] for line in parsed], self.journal.digests, self.held)
        if left is None:
            print(
                f"{self.run}: steps were repeated with other numbers: {self.journal.name} gets a successor", flush=True
            )
            self.ask(self.tracker.end, self.journal.run, "superseded", self.metrics.stat().st_mtime)
            self.ask(self.tracker.close, self.journal.run)
            self.begin()
            self.offset, self.last = 0, b""
            return self.send_metrics()
        # Steps that the tracker has, and the journal lacks.
        unknown = [
            (step, values) for step, values, _ in parsed if step in self.held and step not in self.journal.digests
        ]
        self.journal.add(*({"step": step, "digest": digest(values)} for step, values in unknown))
        for batch in batches(left, self.tracker.values_per_batch):
            self.ask(self.tracker.log, self.journal.run, batch)
            self.journal.add(*({"step": step, "digest": digest(values)} for step, values in batch))
            self.held.update(step for step, _ in batch)
            self.steps += len(batch)
            self.values += sum(len(values) for _, values in batch)
        sent = {step for step, _ in left}
        self.not_finite += sum(count for step, _, count in parsed if step in sent)
        self.offset += sum(map(len, lines))
        self.last = lines[-1]

    def send_config(self):
        """Sends parameters that were changed when the run was resumed."""
        config, before = read_config(self.run), self.journal.config or {}
        if changed := {key: value for key, value in config.items() if before.get(key, ...) != value}:
            self.ask(self.tracker.change, self.journal.run, changed)
            self.journal.add({"config": config})

    def send_summary(self):
        summary, samples = read_summary(self.run), read_samples(self.run)
        made_of = hashlib.sha256(json.dumps([summary, samples]).encode()).hexdigest()[:16]
        if made_of != self.journal.summary and (summary or samples):
            step = max(self.journal.digests, default=0)
            self.ask(self.tracker.summarise, self.journal.run, step, summary, samples, self.run)
            self.journal.add({"summary": made_of})

    def close(self):
        self.ask(self.tracker.close, self.journal.run)
        self.journal.close()


def batches(lines, most):
    """Lines in batches of at most `most` values, or of one line."""
    batch, size = [], 0
    for step, values in lines:
        if batch and size + len(values) > most:
            yield batch
            batch, size = [], 0
        batch.append((step, values))
        size += len(values)
    if batch:
        yield batch


if __name__ == "__main__":
    main()

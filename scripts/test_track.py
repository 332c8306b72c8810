#!/usr/bin/env python3
"""Tests of `scripts/track.py` without a tracker: reading a run while it is written, and sending each step once.

    python3 scripts/test_track.py

The tracker of these tests keeps what it is sent in a dictionary.
"""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import tempfile
import unittest

import track
import trackers


class Kept:
    """A tracker whose runs are dictionaries of lists: the values that were sent of each step."""

    label = "kept"
    values_per_batch = 4
    errors = RuntimeError
    place = {"project": "rl", "url": None}

    def __init__(self):
        self.runs, self.names, self.changed, self.summaries, self.statuses = {}, {}, [], [], {}

    def begin(self, name, _config, _run):
        run = f"id-{len(self.runs)}"
        self.runs[run], self.names[run] = {}, name
        return run, name

    def resume(self, run, _name, _config):
        self.statuses[run] = "running"

    def held(self, run, names):
        return {step for step, sent in self.runs[run].items() if any(names & values.keys() for values in sent)}

    def log(self, run, lines):
        for step, values in lines:
            self.runs[run].setdefault(step, []).append(values)

    def change(self, _run, config):
        self.changed.append(config)

    def summarise(self, _run, step, summary, samples, _directory):
        self.summaries.append((step, summary, samples))

    def end(self, run, status, _ended):
        self.statuses[run] = status

    def close(self, _run):
        pass


class Silent(Kept):
    """A tracker that cannot say what it holds."""

    def held(self, _run, _names):
        return None


def line(step, loss, seconds=1.0):
    return json.dumps({"step": step, "loss": loss, "time/step_s": seconds}) + "\n"


class Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_dir = pathlib.Path(folder.name) / "ppo"
        self.run_dir.mkdir()
        self.write("config.toml", "# rl ppo\nsteps = 4\nlearning_rate = 2e-4\n")
        self.metrics = self.run_dir / "metrics.jsonl"
        self.write("metrics.jsonl", line(1, 0.5) + line(2, 0.25))

    def write(self, name, text):
        (self.run_dir / name).write_text(text)

    def append(self, text):
        with self.metrics.open("a") as file:
            file.write(text)

    def replace(self, text):
        """Writes the metrics as a resumed run does: a new file under the same name."""
        (self.run_dir / "new").write_text(text)
        os.replace(self.run_dir / "new", self.metrics)

    @contextlib.contextmanager
    def locked(self):
        """A process that works on the run."""
        path = self.run_dir / ".lock"
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
            path.unlink()

    @contextlib.contextmanager
    def tracking(self, tracker):
        with contextlib.redirect_stdout(io.StringIO()):
            tracking = track.Tracking(self.run_dir, tracker, "ppo")
        try:
            yield tracking
        finally:
            tracking.close()

    def advance(self, tracking):
        with contextlib.redirect_stdout(io.StringIO()):
            tracking.advance(once=False)

    def track(self, tracker):
        """What one command does after the run."""
        with self.tracking(tracker) as tracking:
            self.advance(tracking)

    def losses(self, tracker, run="id-0"):
        return {step: [values["loss"] for values in sent] for step, sent in tracker.runs[run].items()}

    def test_a_last_line_without_a_line_break_is_left_for_the_next_call(self):
        self.write("metrics.jsonl", line(1, 0.5) + line(2, 0.25)[:-9])
        lines, continues = track.read_lines(self.metrics, 0, b"")
        self.assertEqual((lines, continues), ([line(1, 0.5).encode()], True))
        self.append(line(2, 0.25)[-9:])
        self.assertEqual(track.read_lines(self.metrics, len(lines[0]), lines[0]), ([line(2, 0.25).encode()], True))

    def test_a_file_that_was_cut_is_read_from_its_beginning_even_if_it_has_its_old_length_again(self):
        last, offset = line(2, 0.25).encode(), self.metrics.stat().st_size
        self.replace(line(1, 0.5))
        self.assertEqual(track.read_lines(self.metrics, offset, last), ([line(1, 0.5).encode()], False))
        self.append(line(2, 0.25, seconds=2.0))
        self.assertEqual(self.metrics.stat().st_size, offset)
        self.assertEqual(len(track.read_lines(self.metrics, offset, last)[0]), 2)

    def test_a_value_that_is_not_finite_is_left_out_and_counted(self):
        text = b'{"step": 3, "loss": null, "kl": NaN, "ratio/max": Infinity, "grad_norm": -1e-300, "samples": 7}\n'
        self.assertEqual(track.parse(text, self.metrics), (3, {"grad_norm": -1e-300, "samples": 7}, 3))

    def test_a_malformed_line_names_the_file(self):
        for text in (b"{\n", b"3\n", b'{"loss": 1.0}\n', b'{"step": 1, "loss": "low"}\n'):
            with self.assertRaisesRegex(trackers.Mistake, "metrics.jsonl has a malformed line"):
                track.parse(text, self.metrics)

    def test_every_step_is_sent_once_however_often_the_command_runs(self):
        for tracker in (Kept(), Silent()):
            self.replace(line(1, 0.5) + line(2, 0.25))
            self.track(tracker)
            self.append(line(3, 0.125) + line(4, 0.0625)[:10])
            self.track(tracker)
            self.append(line(4, 0.0625)[10:])
            self.track(tracker)
            self.track(tracker)
            self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25], 3: [0.125], 4: [0.0625]})
            (self.run_dir / ".track-kept.jsonl").unlink()

    def test_following_ends_with_the_lock_and_sends_what_was_written_last(self):
        tracker = Kept()
        with self.tracking(tracker) as tracking:
            with self.locked():
                self.advance(tracking)
                self.assertFalse(tracking.has_ended)
                self.append(line(3, 0.125))
            self.advance(tracking)
            self.assertTrue(tracking.has_ended)
        self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25], 3: [0.125]})

    def test_what_a_run_writes_while_its_steps_are_sent_is_sent_though_it_ends_meanwhile(self):
        tracker = Kept()
        with self.tracking(tracker) as tracking, self.locked():
            send = tracker.log

            def log(run, lines):
                send(run, lines)
                tracker.log = send
                self.append(line(3, 0.125))
                (self.run_dir / ".lock").rename(self.run_dir / "released")

            tracker.log = log
            self.advance(tracking)
            (self.run_dir / ".lock").touch()
            self.advance(tracking)
            self.assertTrue(tracking.has_ended)
        self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25], 3: [0.125]})

    def test_the_lock_file_of_a_killed_process_is_no_lock(self):
        self.assertFalse(track.is_running(self.run_dir))
        with self.locked():
            self.assertTrue(track.is_running(self.run_dir))
        self.write(".lock", "")
        self.assertFalse(track.is_running(self.run_dir))

    def test_a_part_of_a_run_is_running_while_the_whole_is(self):
        part = self.run_dir / "rounds/1"
        part.mkdir(parents=True)
        (part / "config.toml").write_text("# part of rl ei\n")
        with self.locked():
            self.assertTrue(track.is_running(part))
        self.assertFalse(track.is_running(part))

    def test_a_run_is_finished_when_its_report_is_newer_than_its_metrics(self):
        self.assertEqual(track.status_of(self.run_dir), "stopped")
        self.write("report.html", "")
        self.assertEqual(track.status_of(self.run_dir), "finished")
        self.write("interrupted-cpu-seconds", "1.5")
        self.assertEqual(track.status_of(self.run_dir), "stopped")
        (self.run_dir / "interrupted-cpu-seconds").unlink()
        newer = (self.run_dir / "report.html").stat().st_mtime + 1
        os.utime(self.metrics, (newer, newer))
        self.assertEqual(track.status_of(self.run_dir), "stopped")

    def test_steps_that_a_resumed_run_repeats_are_not_sent_again_whatever_their_clocks(self):
        for tracker in (Kept(), Silent()):
            self.replace(line(1, 0.5) + line(2, 0.25))
            with self.tracking(tracker) as tracking, self.locked():
                self.advance(tracking)
                # While it is followed …
                self.replace(line(1, 0.5) + line(2, 0.25, seconds=3.0) + line(3, 0.125))
                self.advance(tracking)
                self.assertEqual(tracking.offset, self.metrics.stat().st_size)
            # … and between two commands.
            self.replace(line(1, 0.5) + line(2, 0.25) + line(3, 0.125, seconds=3.0) + line(4, 0.0625))
            self.track(tracker)
            self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25], 3: [0.125], 4: [0.0625]})
            (self.run_dir / ".track-kept.jsonl").unlink()

    def test_steps_that_are_repeated_with_other_numbers_begin_a_run_with_every_step(self):
        for live in (True, False):
            tracker = Kept()
            self.replace(line(1, 0.5) + line(2, 0.25))
            repeated = line(1, 0.5) + line(2, 0.375) + line(3, 0.125)
            with self.tracking(tracker) as tracking, self.locked():
                self.advance(tracking)
                if live:
                    self.replace(repeated)
                    self.advance(tracking)
                    self.assertEqual(tracking.offset, self.metrics.stat().st_size)
            self.replace(repeated)
            self.track(tracker)
            self.assertEqual(self.losses(tracker, "id-0"), {1: [0.5], 2: [0.25]})
            self.assertEqual(self.losses(tracker, "id-1"), {1: [0.5], 2: [0.375], 3: [0.125]})
            self.assertEqual(tracker.names, {"id-0": "ppo", "id-1": "ppo-2"})
            self.assertEqual(tracker.statuses["id-0"], "superseded")
            (self.run_dir / ".track-kept.jsonl").unlink()

    def test_a_run_that_is_followed_from_its_checkpoint_on_begins_with_the_steps_before_it(self):
        tracker = Kept()
        self.track(tracker)
        self.replace(line(1, 0.5))
        with self.tracking(tracker) as tracking, self.locked():
            self.advance(tracking)
            self.append(line(2, 0.375))
            self.advance(tracking)
        self.assertEqual(self.losses(tracker, "id-1"), {1: [0.5], 2: [0.375]})

    def test_a_step_that_was_sent_just_before_a_kill_is_not_sent_again(self):
        tracker = Kept()
        self.track(tracker)
        journal = self.run_dir / ".track-kept.jsonl"
        # The journal ends within the record of step 2.
        journal.write_bytes(journal.read_bytes()[:-5])
        self.append(line(3, 0.125))
        self.track(tracker)
        self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25], 3: [0.125]})
        self.assertEqual([json.loads(record).get("step") for record in journal.read_text().splitlines()][2:], [1, 2, 3])

    def test_a_step_that_never_reached_the_tracker_is_sent_again(self):
        tracker = Kept()
        self.track(tracker)
        del tracker.runs["id-0"][2]
        self.track(tracker)
        self.assertEqual(self.losses(tracker), {1: [0.5], 2: [0.25]})

    def test_a_flag_that_was_changed_on_resume_is_sent_alone(self):
        tracker = Kept()
        self.track(tracker)
        self.write("config.toml", "# rl ppo\nsteps = 9\nlearning_rate = 2e-4\n")
        self.track(tracker)
        self.track(tracker)
        self.assertEqual(tracker.changed, [{"steps": 9}])

    def test_two_commands_cannot_track_a_run_at_once(self):
        with self.tracking(Kept()), self.assertRaisesRegex(trackers.Mistake, "another process"):
            track.Tracking(self.run_dir, Kept(), "ppo")

    def test_a_run_of_another_project_is_not_mixed_with_this_one(self):
        self.track(Kept())
        tracker = Kept()
        tracker.place = {"project": "other", "url": None}
        with self.assertRaisesRegex(trackers.Mistake, "is tracked in rl: give the same --project"):
            track.Tracking(self.run_dir, tracker, "ppo")

    def test_the_summary_is_sent_once_and_again_when_it_changes(self):
        tracker, sample = Kept(), {"step": 1, "completion": "#### 5"}
        report = {"maj@1": {"value": 0.5, "ci95": [0.25, 0.75]}, "problems": 8, "split": "test", "kl": None}
        self.write("eval.json", json.dumps({"after": report}))
        self.write("samples.jsonl", json.dumps(sample) + "\n")
        self.track(tracker)
        self.track(tracker)
        interval = {"eval/after/maj@1/ci95_low": 0.25, "eval/after/maj@1/ci95_high": 0.75}
        summary = {"eval/after/maj@1": 0.5, **interval, "eval/after/problems": 8}
        self.assertEqual(tracker.summaries, [(2, summary, [sample])])
        self.write("eval.json", '{"after": {"problems": 9}}')
        self.track(tracker)
        self.assertEqual(tracker.summaries[1:], [(2, {"eval/after/problems": 9}, [sample])])

    def test_tables_of_a_configuration_are_flattened(self):
        self.write("config.toml", "# rl ppo\nsteps = 4\n[a.b]\nc = true\n")
        self.assertEqual(track.read_config(self.run_dir), {"command": "rl ppo", "steps": 4, "a.b.c": True})

    def test_the_first_and_the_last_samples_are_read_each_once(self):
        # The end of the file is read in windows of 64 kB and more: one holds many lines, or a line and a part of one.
        for count, length in [(0, 9), (1, 9), (3, 9), (4, 9), (5, 9), (9, 9), (3000, 200), (9, 40_000), (9, 400_000)]:
            samples = [{"step": number, "completion": "x" * length} for number in range(count)]
            self.write("samples.jsonl", "".join(json.dumps(sample) + "\n" for sample in samples) + '{"step":')
            expected = samples if count <= 4 else samples[:2] + samples[-2:]
            self.assertEqual(track.read_samples(self.run_dir, 2), expected)

    def test_a_batch_has_whole_lines(self):
        lines = [(step, {"a": 1, "b": 2, "c": 3}) for step in range(5)]
        self.assertEqual([[step for step, _ in batch] for batch in track.batches(lines, 6)], [[0, 1], [2, 3], [4]])
        self.assertEqual(len(list(track.batches(lines, 1))), 5)

    def test_names_are_written_in_the_characters_of_mlflow_and_never_merged(self):
        mlflow = object.__new__(trackers.MLflow)
        mlflow.names = {}
        self.assertEqual(mlflow.key("validation/maj@1"), "validation/maj_at_1")
        self.assertEqual(mlflow.key("time/step_s"), "time/step_s")
        with self.assertRaisesRegex(trackers.Mistake, "maj_at_1"):
            mlflow.key("validation/maj_at_1")

    def test_a_password_in_a_url_does_not_reach_the_journal(self):
        self.assertEqual(trackers.without_password("https://me:secret@host:5000/a"), "https://host:5000/a")
        self.assertEqual(trackers.without_password("sqlite:///mlflow.db"), "sqlite:///mlflow.db")


if __name__ == "__main__":
    unittest.main()

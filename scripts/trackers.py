"""The trackers that `scripts/track.py` sends to, each by its own package. They know nothing of a run's files.

A tracker is made for a project, and its runs are named by an identifier that it chooses:

- `begin(name, config, directory)` begins a run: its identifier and its name, which may differ from the wanted one.
- `resume(run, name, config)` goes on with a run; one of `errors` where it is not there.
- `held(run, names)`: the steps at which it has one of these metrics; None if it cannot say.
- `log(run, lines)` sends steps with their values, by the name of a metric.
- `change(run, config)` sends parameters that have other values.
- `summarise(run, step, summary, samples, directory)` sends what the end of a run leaves, `step` being its last.
- `end(run, status, ended)` marks a run as `finished`, `stopped`, `superseded` or still `running`.
- `close(run)` waits until everything has been sent.

`place` says where the runs are, `label` names the tracker, `errors` are the exceptions of its package, and
`values_per_batch` bounds the values of a call of `log`.
"""

import importlib
import itertools
import json
import os
import re
import time


class Mistake(Exception):
    """A condition that the user can change: the message is one line."""


def package(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise Mistake(f"there is no package {error.name}: pip install {name.partition('.')[0]}") from None


def without_password(url):
    """A URL as it may stand in the journal."""
    return re.sub(r"//[^/@]*@", "//", url)


class MLflow:
    """MLflow (mlflow.org): a server, or a database on this machine. A batch of metrics arrives whole or not at all."""

    label = "mlflow"
    values_per_batch = 1000
    STATUS = {"finished": "FINISHED", "stopped": "KILLED", "superseded": "KILLED"}

    def __init__(self, project, url):
        mlflow = package("mlflow")
        self.entities, self.errors = mlflow.entities, mlflow.exceptions.MlflowException
        self.client = mlflow.MlflowClient(tracking_uri=url)
        self.place = {"project": project, "url": without_password(self.client.tracking_uri)}
        self.names = {}

    def begin(self, name, config, run):
        experiment = self.client.get_experiment_by_name(self.place["project"])
        experiment = experiment.experiment_id if experiment else self.client.create_experiment(self.place["project"])
        started = int((run / "config.toml").stat().st_mtime * 1000)
        run = self.client.create_run(experiment, start_time=started, run_name=name)
        params = [self.entities.Param(self.key(key), str(value)) for key, value in config.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(run.info.run_id, params=params[start : start + 100])
        return run.info.run_id, name

    def resume(self, run, _name, _config):
        self.client.update_run(run, "RUNNING")

    def held(self, run, names):
        histories = (self.client.get_metric_history(run, self.key(name)) for name in names)
        return {point.step for history in histories for point in history}

    def log(self, run, lines):
        now = int(time.time() * 1000)
        metrics = [
            self.entities.Metric(self.key(name), value, now, step)
            for step, values in lines
            for name, value in values.items()
        ]
        self.client.log_batch(run, metrics=metrics)

    def change(self, run, config):
        # A parameter of MLflow never changes.
        for key, value in config.items():
            self.client.set_tag(run, f"resumed.{self.key(key)}", str(value))

    def summarise(self, run, step, summary, samples, directory):
        self.log(run, [(step, summary)] if summary else [])
        if samples:
            self.client.log_text(
                run, "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples), "samples.jsonl"
            )
        for file in ("config.toml", "eval.json"):
            if (directory / file).is_file():
                self.client.log_artifact(run, str(directory / file))

    def end(self, run, status, ended):
        if status != "running":
            self.client.set_terminated(run, self.STATUS[status], int(ended * 1000))

    def close(self, run):
        pass

    def key(self, name):
        """A name in the characters that MLflow allows: `maj@1` is `maj_at_1`, as MLflow's own evaluators have it."""
        key = re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))
        if self.names.setdefault(key, name) != name:
            raise Mistake(f"{name} and {self.names[key]} would both be {key} in MLflow")
        return key


class Trackio:
    """trackio (Hugging Face): a database on this machine, or where TRACKIO_SERVER_URL or TRACKIO_SPACE_ID point."""

    label = "trackio"
    values_per_batch = 1000
    errors = ValueError

    def __init__(self, project, url):
        self.trackio = package("trackio")
        self.storage = package("trackio.sqlite_storage").SQLiteStorage
        remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        self.is_local = not remote
        self.place = {"project": project, "url": without_password(remote.partition("?")[0]) if remote else None}
        self.open = {}

    def start(self, name, **more):
        return self.trackio.init(
            self.place["project"], name, embed=False, auto_log_gpu=False, auto_log_cpu=False, **more
        )

    def begin(self, name, config, _run):
        # trackio finds a run by its name.
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        taken = self.storage.get_runs(self.place["project"])
        name = next(free for free in itertools.chain([name], numbered) if free not in taken)
        run = self.start(name, config=config)
        self.open[run.id] = run
        return run.id, name

    def resume(self, run, name, config):
        resumed = self.start(name, config=config, resume="must")
        if resumed.id != run:
            raise Mistake(
                f"trackio has another run {name} in {self.place['project']}: rename it, or give another --project"
            )
        self.open[run] = resumed

    def held(self, run, names):
        # What was sent arrives later, so the database is asked, not the journal.
        if not self.is_local:
            return None
        logs = self.storage.get_logs(self.place["project"], run=self.open[run].name, run_id=run)
        return {log["step"] for log in logs if names & log.keys()}

    def log(self, run, lines):
        for step, values in lines:
            self.open[run].log(values, step=step)

    def change(self, run, config):
        self.open[run].config.update(config)
        self.open[run]._config_logged = False

    def summarise(self, run, step, summary, samples, _directory):
        columns = list(samples[0]) if samples else []
        table = self.trackio.Table(
            columns=columns, data=[[sample.get(column) for column in columns] for sample in samples]
        )
        self.open[run].log({**summary, **({"table/samples": table} if samples else {})}, step=step)

    def end(self, run, _status, _ended):
        pass

    def close(self, run):
        if run in self.open:
            self.open.pop(run).finish()


class Wandb:
    """Weights & Biases: with an account, or without one and without a network under WANDB_MODE=offline."""

    label = "wandb"
    values_per_batch = 1000

    def __init__(self, project, url):
        self.wandb = package("wandb")
        self.errors = self.wandb.errors.Error
        self.place = {"project": project, "url": os.environ.get("WANDB_BASE_URL")}
        self.open = {}

    def start(self, **more):
        # The machine that is measured, and the code, are those of the training, not of this process.
        settings = self.wandb.Settings(
            x_disable_stats=True, x_disable_machine_info=True, disable_git=True, save_code=False, console="off"
        )
        return self.wandb.init(project=self.place["project"], reinit="create_new", settings=settings, **more)

    def begin(self, name, config, _run):
        run = self.start(name=name, config=config)
        self.open[run.id] = run
        return run.id, name

    def resume(self, run, name, _config):
        self.open[run] = self.start(id=run, name=name, resume="allow")

    def held(self, _run, _names):
        return None

    def log(self, run, lines):
        for step, values in lines:
            self.open[run].log(values, step=step)

    def change(self, run, config):
        self.open[run].config.update(config, allow_val_change=True)

    def summarise(self, run, step, summary, samples, _directory):
        self.open[run].summary.update(summary)
        if samples:
            columns = list(samples[0])
            table = self.wandb.Table(
                columns=columns, data=[[sample.get(column) for column in columns] for sample in samples]
            )
            # A table that is logged would need a step of its own, which the resumed run may reach later.
            artifact = self.wandb.Artifact(f"samples-{run}", type="samples")
            artifact.add(table, "samples")
            self.open[run].log_artifact(artifact)

    def end(self, run, status, _ended):
        self.open[run].summary["status"] = status

    def close(self, run):
        if run in self.open:
            self.open.pop(run).finish()


TRACKERS = {tracker.label: tracker for tracker in (MLflow, Trackio, Wandb)}

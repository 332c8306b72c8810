#!/usr/bin/env python3
"""Is a training run that is killed again and again, and resumed, the run that nobody killed?

    cargo build --workspace --release && scripts/check_kills.py --kills 200      # needs strace

Each command trains a tiny model once undisturbed, and then is killed (SIGKILL) and resumed, up to three times a run, before it may come to
its end. Two of three kills fall on a system call that writes, renames, removes or synchronises a file, the others on any moment. Then every
file of the run directory must be that of the undisturbed run: weights, optimiser states, samples, metrics and reports, clocks, memory and
the HTML page aside. Ends with 1 at the first difference, whose directories it keeps.
"""

import argparse
import collections
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

TREE = pathlib.Path(__file__).resolve().parent.parent

# System calls that change files.
CALLS = "write,pwrite64,rename,renameat,renameat2,mkdir,unlink,unlinkat,rmdir,fsync,fdatasync,ftruncate,copy_file_range"

FIT = "--limit 12 --steps 12 --batch-size 4 --eval-every 3 --eval-problems 4"
TEST = "--test-problems 4 --test-samples 2"
SAMPLED = "--samples 6 --temperature 1.3 --max-new-tokens 64"
PPO = "--steps 6 --questions 3 --samples 4 --mini-batch 4 --temperature 1.3 --eval-every 2 --eval-problems 4 --limit 12 --max-new-tokens 64"
PPO_STAGE = "--ppo-steps 3 --ppo-questions 3 --ppo-samples 4 --ppo-mini-batch 4 --ppo-eval-every 2 --ppo-value-warm-up 1"

# What is killed: a name, the command and its flags. {knows} is a policy that answers some questions, {base} a new base model, {orm} a reward model.
RUNS = {
    "pretrain": "pretrain --model nano --steps 8 --batch-size 4 --eval-every 2",
    "sft": f"sft --init {{base}} {FIT} {TEST}",
    "sft-adapters": f"sft --init {{base}} --lora-rank 2 {FIT} {TEST}",
    "orm": f"orm --init {{knows}} {FIT} {SAMPLED}",
    "orm-steps": f"orm --init {{knows}} --labels steps --completions 2 {FIT} {SAMPLED}",
    "ei": f"ei --init {{knows}} --base {{base}} --rounds 2 {FIT} {SAMPLED} {TEST}",
    "ppo": f"ppo --init {{knows}} --value-warm-up 1 {PPO} {TEST}",
    "ppo-curriculum": f"ppo --init {{knows}} --orm {{orm}} --reward dense-orm --curriculum plr --lora-rank 2 {PPO} {TEST}",
    "rcrl": f"rcrl --init {{knows}} --base {{base}} --completions 2 {FIT} {SAMPLED} {TEST}",
    "augment": f"augment --init {{knows}} --base {{base}} --agree 0 {FIT} --samples 4 --max-new-tokens 96",
    "dpo": f"dpo --init {{knows}} {FIT} {SAMPLED} {TEST}",
    "dpo-rounds": f"dpo --init {{knows}} --rounds 2 {FIT} {SAMPLED} {TEST}",
    "mpo": f"mpo --init {{knows}} --orm {{orm}} --held-out 0 {PPO_STAGE} {FIT} {SAMPLED} {TEST}",
    "ares": f"ares --init {{knows}} --alternations 2 {PPO_STAGE} {FIT} {SAMPLED} {TEST}",
    "guide": "guide --environment blocks --lambda 0 --size 3 --seeds 4 --episodes 300",
}


def rl(arguments, **options):
    return subprocess.run([TREE / "target/release/rl", *arguments, "--quiet"], capture_output=True, text=True, **options)


def made(work, name, flags):
    """A model that the runs start from."""
    out = work / name
    if not out.exists():
        done = rl([*flags.split(), "--out", str(out)])
        assert done.returncode == 0, done.stderr
    return out


def models(work):
    """The models that all runs start from, by name."""
    few = "--limit 12 --batch-size 6 --eval-problems 4"
    base = made(work, "base", "pretrain --model nano --steps 6 --batch-size 4 --eval-every 3")
    knows = made(work, "knows", f"sft --init {base} --steps 90 --learning-rate 4e-3 --eval-every 90 --test-problems 4 {few}")
    orm = made(work, "orm", f"orm --init {knows} --samples 8 --temperature 1.5 --steps 4 --max-new-tokens 64 {few}")
    return {"base": base, "knows": knows, "orm": orm}


def is_clock(name):
    return name.startswith(("time/", "device/")) or name.endswith("_per_s")


def content(path):
    """What must be equal of a file; None where nothing must."""
    if path.suffix == ".html" or path.name in ("interrupted-cpu-seconds", ".lock"):
        return None
    if path.name in ("metrics.jsonl", "seeds.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{name: value for name, value in line.items() if not is_clock(name) and name != "seconds"} for line in lines]
    return path.read_bytes()


def differences(run, whole):
    names = lambda folder: {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    # The lock of a dead process is no lock: its file may stay.
    apart = {name for name in names(run) | names(whole) if name.name in ("interrupted-cpu-seconds", ".lock")}
    for name in sorted((names(run) ^ names(whole)) - apart):
        yield f"{name} is only in {run if (run / name).exists() else whole}"
    for name in sorted(names(run) & names(whole)):
        contents = [content(folder / name) for folder in (run, whole)]
        if isinstance(contents[0], bytes):
            # Paths of the run itself stand in configurations and reports.
            contents = [text.replace(bytes(run), b"RUN").replace(bytes(whole), b"RUN") for text in contents]
        if contents[0] != contents[1]:
            yield f"{name} differs"


def calls_of(log):
    """How often each thread made each system call, in the order of threads."""
    counts = collections.Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found:
            counts[found.groups()] += 1
    return [(call, count) for (_, call), count in counts.items()]


class Victim:
    """A run that is killed."""

    def __init__(self, name, work, models, random):
        self.flags = RUNS[name].format(**models).split()
        self.name, self.work, self.random = name, work, random
        self.whole, self.run = work / f"{name}-whole", work / f"{name}-killed"
        log = work / f"{name}.calls"
        if not self.whole.exists():
            started = time.monotonic()
            command = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", log, TREE / "target/release/rl"]
            done = subprocess.run([*command, *self.flags, "--out", self.whole, "--quiet"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (work / f"{name}.seconds").write_text(str(time.monotonic() - started))
        self.seconds = float((work / f"{name}.seconds").read_text())
        self.calls = calls_of(log)

    def start(self):
        if self.run.exists():
            return [self.flags[0], "--resume", str(self.run)]
        return [*self.flags, "--out", str(self.run)]

    def kill(self):
        """Starts or resumes the run and kills it; false if it came to its end before."""
        command = [TREE / "target/release/rl", *self.start(), "--quiet"]
        if self.random.random() < 2 / 3:
            call, count = self.random.choices(self.calls, [count for _, count in self.calls])[0]
            self.moment = f"{call} {self.random.randint(1, count)}"
            inject = f"inject={call}:signal=KILL:when={self.moment.split()[1]}"
            command = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject, *command]
            limit = None
        else:
            limit = self.random.uniform(0, self.seconds)
            self.moment = f"{limit:.2f} s"
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            error = child.communicate(timeout=limit)[1]
        except subprocess.TimeoutExpired:
            child.kill()
            error = child.communicate()[1]
        assert child.returncode in (0, -9, 137), f"{self.name}, {self.moment}: {error}"
        return child.returncode != 0

    def compare(self, has_ended):
        """Lets the run come to its end; how it differs from the one that nobody killed."""
        done = None if has_ended else rl(self.start())
        problems = list(differences(self.run, self.whole))
        if done and (problems or done.returncode):
            problems.append(f"it ended with {done.returncode}: {done.stderr}")
        if not problems:
            shutil.rmtree(self.run)
        return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills in all (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default 0)")
    parser.add_argument("--only", default="", help=f"commands, separated by commas: {', '.join(RUNS)}")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="kills-"))
    moments, start = random.Random(args.seed), models(work)
    names = args.only.split(",") if args.only else list(RUNS)
    victims = [Victim(name, work, start, moments) for name in names]
    kills, runs = collections.Counter(), collections.Counter()
    while kills.total() < args.kills:
        victim = min(victims, key=lambda victim: kills[victim.name])
        history, has_ended = [], False
        while len(history) < 3 and kills.total() < args.kills and not has_ended:
            has_ended = not victim.kill()
            if not has_ended:
                history.append(victim.moment)
                kills[victim.name] += 1
        runs[victim.name] += 1
        problems = victim.compare(has_ended)
        if problems:
            print(f"{victim.name}, killed at {'; '.join(history)}:", *problems, f"kept in {work}", sep="\n  ")
            sys.exit(1)
    for name in names:
        print(f"{name:15} {kills[name]:4} kills in {runs[name]:3} runs of {[v.seconds for v in victims if v.name == name][0]:.1f} s")
    print(f"{kills.total()} kills, and each run is the one that nobody killed")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Does a training run survive a power cut on a disk that keeps only what was synchronised?

    cargo build --workspace --release && scripts/check_power_cut.py --cuts 30      # a command; needs strace

Records every system call that changes a file while a tiny run trains (strace), with its data. At a power cut, of a file is left what it
held at its last fsync, and of a folder the names that it held at its last fsync: less than any file system in use keeps. The script builds
that state as of some moments, resumes the run from it, and compares the end with the run that was not cut, as check_kills.py does.
"""

import argparse
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

import check_kills
from check_kills import RUNS, TREE, differences, made, rl

CALLS = check_kills.CALLS + ",openat,creat,truncate,pwritev,writev"
CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
PATH = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
DESCRIPTOR = re.compile(r"^(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>")


class File:
    def __init__(self):
        self.content, self.kept, self.position = bytearray(), b"", 0

    def write(self, data):
        self.content[self.position : self.position + len(data)] = data
        self.position += len(data)

    def resize(self, size):
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def synchronise(self):
        self.kept = bytes(self.content)

    def restore(self, path):
        path.write_bytes(self.kept)


class Folder:
    def __init__(self):
        self.entries, self.kept = {}, {}

    def synchronise(self):
        self.kept = dict(self.entries)

    def restore(self, path):
        path.mkdir(exist_ok=True)
        for name, entry in self.kept.items():
            entry.restore(path / name)


class Disk:
    """The files under a folder, as they are and as a power cut would leave them. The folder itself is there."""

    def __init__(self, root):
        self.root, self.top = str(root), Folder()

    def inside(self, path):
        return path.startswith(self.root + "/")

    def parent(self, path):
        *folders, name = path[len(self.root) + 1 :].split("/")
        folder = self.top
        for part in folders:
            folder = folder.entries[part]
        return folder.entries, name

    def at(self, path):
        if path == self.root:
            return self.top
        entries, name = self.parent(path)
        return entries.get(name)

    def apply(self, call, rest):
        """Applies a line of strace; whether it changed what a power cut would leave."""
        # What strace shows of a call that another thread interrupted is its beginning, with all its data.
        if re.search(r"\) += -1 E", rest):
            return False
        names = [] if "write" in call else [unescaped(name).decode() for name in PATH.findall(rest)]
        of_descriptor = DESCRIPTOR.match(rest)
        opened = unescaped(of_descriptor.group(1)).decode() if of_descriptor else ""
        if call == "openat":
            path = names[0] if names[0].startswith("/") else f"{opened}/{names[0]}"
            if self.inside(path) and ("O_CREAT" in rest or "O_TRUNC" in rest):
                entries, name = self.parent(path)
                file = entries.setdefault(name, File())
                if "O_TRUNC" in rest:
                    file.resize(0)
                file.position = len(file.content) if "O_APPEND" in rest else 0
        elif call in ("write", "pwrite64", "writev", "pwritev", "ftruncate", "truncate", "copy_file_range"):
            if self.inside(opened):
                # One descriptor at a time writes to a file.
                if call == "ftruncate":
                    self.at(opened).resize(int(re.search(r">, (\d+)", rest).group(1)))
                else:
                    assert call == "write", f"{call} is not replayed: {rest[:200]}"
                    self.at(opened).write(unescaped(re.search(r'^[^"]*"((?:\\x[0-9a-f]{2})*)"(?!\.\.\.)', rest).group(1)))
        elif call in ("fsync", "fdatasync"):
            if self.inside(opened) or opened == self.root:
                self.at(opened).synchronise()
                return True
        elif call.startswith("rename"):
            if self.inside(names[0]):
                (source, old), (target, new) = self.parent(names[0]), self.parent(names[1])
                target[new] = source.pop(old)
        elif call == "mkdir":
            if self.inside(names[0]):
                entries, name = self.parent(names[0])
                entries[name] = Folder()
        elif call in ("unlink", "rmdir", "unlinkat"):
            path = f"{opened}/{names[0]}" if call == "unlinkat" and not names[0].startswith("/") else names[0]
            if self.inside(path):
                entries, name = self.parent(path)
                del entries[name]
        return False


def unescaped(text):
    return bytes.fromhex(text.replace("\\x", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=30, help="moments of each command (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default 0)")
    parser.add_argument("--only", default="pretrain,sft,orm,ei,ppo,rcrl,dpo", help=f"commands, separated by commas, of {', '.join(RUNS)}")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="cuts-")).resolve()
    models, moments, total = check_kills.models(work), random.Random(args.seed), 0
    for name in args.only.split(","):
        flags, place, log = RUNS[name].format(**models).split(), work / f"{name}-run", work / f"{name}.calls"
        place.mkdir()
        run, whole = place / "run", work / f"{name}-whole"
        record = ["strace", "-f", "-y", "-xx", "-s", "1000000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", log]
        command = [*record, TREE / "target/release/rl", *flags, "--threads", "1", "--out", run, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run.rename(whole)
        lines = [found.groups() for found in map(CALL.match, log.open(errors="replace")) if found]
        # Moments after which something else would be left, and the begin.
        disk = Disk(place)
        changes = [0] + [index + 1 for index, line in enumerate(lines) if disk.apply(*line)]
        for file in (file for file in whole.rglob("*") if file.is_file()):
            assert disk.at(str(run / file.relative_to(whole))).content == file.read_bytes(), f"{file} is not what was recorded"
        cuts = sorted(moments.sample(changes, min(args.cuts, len(changes))))
        disk, at = Disk(place), 0
        for cut in cuts:
            while at < cut:
                disk.apply(*lines[at])
                at += 1
            shutil.rmtree(place)
            disk.top.restore(place)
            start = ["--resume", str(run)] if run.exists() else [*flags[1:], "--threads", "1", "--out", str(run)]
            done = rl([flags[0], *start])
            problems = list(differences(run, whole)) if run.exists() else ["there is no run"]
            if done.returncode or problems:
                disk.top.restore(work / "left")
                print(f"{name}, cut after call {cut} of {len(lines)}:", *problems, done.stderr, f"kept in {work}", sep="\n  ")
                sys.exit(1)
        total += len(cuts)
        print(f"{name:10} {len(cuts):3} of {len(changes)} states that differ", flush=True)
        log.unlink()
    print(f"{total} power cuts, and each run is the one that was not cut")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()

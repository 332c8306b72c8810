"""Reward for code: the share of a problem's tests that the completion passes: its first fenced block, or all of it without one.

The tests are the lines of the reference answer that begin with `assert`, or those of the reference solution where the answer has
none. Each batch runs its programs side by side, each in a process of its own with a time limit. That is no sandbox: run code of a
model in a container or as a user without rights.
"""

import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

SECONDS = 5
BLOCK = re.compile(r"```(?:python)?\s*\n(.*?)```", re.DOTALL)
# Runs the program once, then each test by itself; prints how many pass.
RUNNER = """
import json, sys
program, tests = json.load(sys.stdin)
out, sys.stdout = sys.stdout, sys.stderr
names, passed = {}, 0
exec(program, names)
for test in tests:
    try:
        exec(test, names)
        passed += 1
    except BaseException:
        pass
print(passed, file=out)
"""


def reward(item):
    """The share of tests that pass; None, no opinion, for a problem without a test."""
    asserts = ([line for line in item[field].splitlines() if line.startswith("assert")] for field in ("answer", "solution"))
    tests = next(filter(None, asserts), None)
    if tests is None:
        return None
    block = BLOCK.search(item["completion"])
    program = block[1] if block else item["completion"]
    command = [sys.executable, "-I", "-c", RUNNER]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(command, input=json.dumps([program, tests]), capture_output=True, text=True,
                                  timeout=SECONDS, cwd=folder)
            return int(done.stdout) / len(tests)
        except (subprocess.TimeoutExpired, ValueError):
            return 0.0


if __name__ == "__main__":
    with ThreadPoolExecutor() as pool:
        for line in sys.stdin:
            batch = json.loads(line)
            print(json.dumps({"id": batch["id"], "rewards": list(pool.map(reward, batch["items"]))}), flush=True)

#!/usr/bin/env python3
"""Applies the worked examples of CONTRIBUTING.md, all of them, to a copy of the repository in `target/worked-examples`, checks and compiles it,
runs the tests that the examples bring (not with `--no-tests`), and prints how many files and lines each example touches.

A section of CONTRIBUTING.md with a `diff` block is an example. Its blocks are applied in their order:

- `diff`: `@@` and a text, in place of line numbers, is where the search for the lines to change begins: at the first line that contains
  the text. Without a text, the lines must stand in the file once.
- `sh` with `cp FILE NEW_FILE`: a new file that is too long for the page.

A heading that ends with a number, as in `A reward: one file`, must give the number of files that the example touches.

The copy has another version than the repository: cargo identifies a package by its name, version and place in the workspace, and would
otherwise take what it has compiled of the copy for the repository's own."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target/worked-examples"
NUMBERS = ["no", "one", "two", "three", "four", "five", "six"]


def run(*command: str, cwd: pathlib.Path = COPY) -> str:
    """What a command writes to its standard output; ends the program if it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: `{' '.join(command)}` failed in {cwd}\n{done.stdout}")
    return done.stdout


def make_copy() -> None:
    """Copies the files that git does not ignore, with their times, so that cargo compiles only what has changed."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    manifest = COPY / "Cargo.toml"
    text, changed = re.subn(r'^version = "(.*)"$', r'version = "\1-examples"', manifest.read_text(), count=1, flags=re.M)
    assert changed == 1, "Cargo.toml gives no version"
    manifest.write_text(text)
    os.utime(manifest, ns=(0, (ROOT / "Cargo.toml").stat().st_mtime_ns))
    run("git", "init", "--quiet")


def snapshot() -> str:
    """The id of the copy's files as they are."""
    run("git", "add", "--all")
    return run("git", "write-tree").strip()


def place(lines: list[str], old: list[str], anchor: str) -> int:
    """The index of the lines `old`, after the anchor."""
    begin = next((i for i, line in enumerate(lines) if anchor in line), None)
    if begin is None:
        raise ValueError(f"there is no line with {anchor!r}")
    found = [i for i in range(begin, len(lines)) if lines[i : i + len(old)] == old]
    if not old or not found:
        raise ValueError(f"these lines are not there, after {anchor!r}:\n" + "\n".join(old))
    if not anchor and len(found) > 1:
        raise ValueError("these lines are there more than once: say after which line they are meant\n" + "\n".join(old))
    return found[0]


def apply(diff: str) -> None:
    """Applies a diff of one file to the copy."""
    head, *hunks = re.split(r"^@@", diff, flags=re.M)
    name = re.search(r"^\+\+\+ b/(.*)$", head, re.M)[1]
    path = COPY / name
    lines = path.read_text().split("\n") if "--- /dev/null" not in head else [""]
    for hunk in hunks:
        anchor, *changes = hunk.removesuffix("\n").split("\n")
        old = [line[1:] for line in changes if not line.startswith("+")]
        new = [line[1:] for line in changes if not line.startswith("-")]
        try:
            at = place(lines, old, anchor.strip()) if old else 0
        except ValueError as error:
            sys.exit(f"error: CONTRIBUTING.md, the diff of {name}: {error}")
        lines[at : at + len(old)] = new
    path.write_text("\n".join(lines))


def examples(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The sections with a diff: headings and blocks, each with its language."""
    found = []
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        blocks = re.findall(r"^```(diff|sh)\n(.*?)^```$", section, re.M | re.S)
        if any(language == "diff" for language, _ in blocks):
            found.append((section.split("\n")[0], blocks))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-tests", action="store_true", help="compile the tests of the examples, but do not run them")
    arguments = parser.parse_args()
    make_copy()
    before, crate, tests, wrong = snapshot(), "", {}, []
    print("| example | files | lines added | lines removed |\n| --- | --- | --- | --- |")
    for heading, blocks in examples((COPY / "CONTRIBUTING.md").read_text()):
        for language, text in blocks:
            if language == "diff":
                apply(text)
            for source, target in re.findall(r"^cp (\S+) (\S+)$", text, re.M) if language == "sh" else []:
                shutil.copyfile(COPY / source, COPY / target)
        after = snapshot()
        touched = [line.split("\t") for line in run("git", "diff", "--numstat", before, after).splitlines()]
        name, _, files = heading.partition(": ")
        print(f"| {name} | {len(touched)} | {sum(int(row[0]) for row in touched)} | {sum(int(row[1]) for row in touched)} |", flush=True)
        if files and files.split()[0] != NUMBERS[len(touched)]:
            wrong.append(f"{name} says {files}, and touches {', '.join(row[2] for row in touched)}")
        for package, test in re.findall(r"^\+\+\+ b/(\w+)/|^\+\s*#\[test\]\n\+\s*fn (\w+)", run("git", "diff", before, after), re.M):
            crate = package or crate
            if test:
                tests.setdefault(crate, []).append(test)
        before = after
    if wrong:
        sys.exit("error: " + "\n".join(wrong))
    os.environ["CARGO_TARGET_DIR"] = str(ROOT / "target")
    run("cargo", "fmt", "--all", "--check")
    run("cargo", "clippy", "--workspace", "--release", "--all-targets", "--quiet", "--", "-D", "warnings")
    if arguments.no_tests:
        return
    # The crates of the workspace without optimisation, which compiles them faster; the others are compiled already.
    quick = [part for crate in ("data", "model", "eval", "rl") for part in ("--config", f"profile.release.package.{crate}.opt-level=0")]
    packages = [part for crate in tests for part in ("--package", crate)]
    names = [name for of_crate in tests.values() for name in of_crate]
    output = run("cargo", "test", "--release", "--quiet", *quick, *packages, "--lib", "--", *names)
    passed = sum(int(count) for count in re.findall(r"(\d+) passed", output))
    if passed != len(names):
        sys.exit(f"error: {passed} tests passed of {', '.join(names)}")
    print(f"\n{passed} tests of the examples passed")


if __name__ == "__main__":
    main()

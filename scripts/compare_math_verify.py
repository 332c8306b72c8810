#!/usr/bin/env python3
r"""Compares the verdicts of `data::MathAnswer` with those of Hugging Face's Math-Verify, pair by pair.

    python3 -m venv venv && venv/bin/pip install math-verify==0.9.0
    cargo build -p data --release --example math_answers
    venv/bin/python scripts/compare_math_verify.py --binary target/release/examples/math_answers FILE.jsonl ...

Each line of a file is one of
- a pair: {"gold": …, "answer": …}, with "expected": true or false where the truth is known, and "completion": true where the
  answer is a whole completion that states it somewhere;
- a problem: "solution" with a last \boxed{…}, else "answer" or "final_answer", is the gold; the texts in the list "code", where it
  is there, are completions of a model for it.

From problems the script makes pairs of these sources:
- self: each gold against itself;
- solution: each gold against the whole text of its solution, if that has a box;
- model: each gold against each completion;
- variant: each gold against ways to write it otherwise (dfrac for frac, spaces, a list in another order, …); "equal" is expected;
- perturbed: each gold against itself with a digit, a sign, a bracket or a relation changed;
- near: golds of the same shape (the same text but for its digits and letters) against each other;
- random: golds of different problems against each other.

Verdicts of Math-Verify are slow: `--cache` keeps them in a file, and `--minutes` bounds the time for new ones; pairs without a
verdict are left out. `--disagreements` writes the pairs where the two differ.
It prints a table: source, pairs, both equal, both unequal, only ours equal, only Math-Verify's equal, agreement.
"""

import argparse
import collections
import json
import logging
import multiprocessing
import random
import re
import subprocess
import time
from pathlib import Path


def last_box(text):
    """The inside of the last \\boxed{…} or \\fbox{…} of a text."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    depth, begin = 0, text.index("{", start)
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin + 1 : at]
    return None


def gold_of(row):
    """The gold answer of a problem, or None."""
    solution = row.get("solution")
    if isinstance(solution, str) and (box := last_box(solution)):
        return box
    gold = row.get("answer", row.get("final_answer"))
    if isinstance(gold, list):
        gold = gold[0] if gold else None
    text = str(gold).strip() if gold is not None else ""
    # A lone formula stands without its marks, so that what is changed stands in the formula too.
    lone = re.fullmatch(r"\$([^$]+)\$\.?", text)
    return (lone[1].strip() if lone else text) or None


def is_prose(gold):
    """Whether an answer is a sentence or several formulas rather than one formula."""
    words = re.findall(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}", re.sub(r"\\(?:text|mbox|mathrm)\s*\{[^}]*\}", "", gold))
    return "$" in gold or len(words) > 1


def variants(gold):
    """Other ways to write an answer, equal to it."""
    yield gold.replace("\\frac", "\\dfrac")
    if is_prose(gold):
        return
    if not re.search(r"\\[a-z]+ [a-zA-Z]|text|mbox|\\ |mathrm| or | and |begin|[a-z] [a-z]", gold):
        yield gold.replace(" ", "")
    yield f"${gold}$"
    if not re.search(r"text|mbox|begin|\de[+-]", gold):
        yield re.sub(r"(?<=[\w})])([+=<>-])(?=[\w\\({])", r" \1 ", gold)
    if gold.count("(") == gold.count(")") and not re.search(r"left|text|big|[\[\]]", gold, re.IGNORECASE):
        yield gold.replace("(", "\\left(").replace(")", "\\right)")
    if match := re.fullmatch(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}", gold):
        sign, above, below = match.groups()
        yield f"{sign}{above}/{below}"
        yield f"\\frac{{{sign}{3 * int(above)}}}{{{3 * int(below)}}}"
        yield f"{float(sign + above) / int(below):.8f}"
    if re.fullmatch(r"-?\d+", gold):
        yield gold + ".0"
        yield f"\\text{{{gold}}}" if len(gold) > 6 else f"{gold} \\text{{ units}}"
        yield f"x = {gold}"
    parts = gold.split(",")
    if len(parts) > 1 and not re.search(r"[(){}\[\]$]|text|!", gold) and all(re.search(r"\d", part) for part in parts):
        if not re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", gold.replace(" ", "")):
            yield ", ".join(part.strip() for part in reversed(parts))
    if match := re.fullmatch(r"(-?[0-9a-z^{}]+) ?\+ ?([0-9a-z^{}\\]+)", gold):
        yield f"{match[2]}+{match[1]}"


def perturbed(gold, generator):
    """Answers that look like a gold and mostly are not equal to it."""
    if is_prose(gold):
        return
    digits = [match.start() for match in re.finditer(r"\d", gold)]
    if digits:
        at = generator.choice(digits)
        yield gold[:at] + str((int(gold[at]) + generator.randint(1, 9)) % 10) + gold[at + 1 :]
    yield "-" + gold if not gold.startswith("-") else gold[1:]
    if re.fullmatch(r"(\\left)? ?\([^()]*,[^()]*\)", gold):
        yield gold.replace("(", "[", 1)
    for old, new in [("\\le ", "\\ge "), ("<", ">"), ("+", "-"), ("sin", "cos"), ("\\pi", ""), ("x", "y")]:
        if old in gold:
            yield gold.replace(old, new, 1)
            break
    yield gold + "0" if re.search(r"\d$", gold) else gold + "+1"


def shape(gold):
    """A text without its digits and single letters."""
    return re.sub(r"(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])", "v", re.sub(r"\d+", "0", gold)).replace(" ", "")


def pairs_of(paths, options):
    """All pairs of the files, each once."""
    generator = random.Random(options.seed)
    golds, pairs = [], []

    def add(source, gold, answer, completion=False, expected=None):
        pairs.append({"source": source, "gold": gold, "answer": answer, "completion": completion, "expected": expected})

    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if "gold" in row:
                add(path.stem, row["gold"], row["answer"], row.get("completion", False), row.get("expected"))
                continue
            gold = gold_of(row)
            if gold is None or len(gold) > 300:
                continue
            completions = row.get("code", [])
            for completion in completions:
                add("model", gold, completion, completion=True)
            if not completions:
                golds.append(gold)
                if isinstance(row.get("solution"), str) and last_box(row["solution"]):
                    add("solution", gold, row["solution"], completion=True)
    distinct = sorted(set(golds))
    for gold in distinct:
        add("self", gold, gold)
        for answer in variants(gold):
            if answer != gold:
                add("variant", gold, answer, expected=True)
        for answer in perturbed(gold, generator):
            add("perturbed", gold, answer)
    shapes = collections.defaultdict(list)
    for gold in distinct:
        shapes[shape(gold)].append(gold)
    near = [tuple(generator.sample(group, 2)) for group in shapes.values() if len(group) > 1 for _ in range(len(group))]
    for gold, answer in generator.sample(near, min(options.near, len(near))):
        add("near", gold, answer)
    for _ in range(options.random if len(distinct) > 1 else 0):
        add("random", *generator.sample(distinct, 2))
    seen, once = set(), []
    for pair in pairs:
        key = (pair["gold"], pair["answer"], pair["completion"])
        if key not in seen:
            seen.add(key)
            once.append(pair)
    return once


def judge(pair):
    """Math-Verify's verdict, with the extraction that it recommends: LaTeX first, boxes first."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def read(text, completion):
        is_marked = completion or re.search(r"(?<!\\)\$", text) or "\\boxed" in text
        text = text if is_marked else f"\\boxed{{{text}}}"
        return parse(text, targets, parsing_timeout=3)

    try:
        return bool(verify(read(pair["gold"], False), read(pair["answer"], pair["completion"]), timeout_seconds=3))
    except Exception:  # a library that fails on a pair does not call it equal
        return False


def key(pair):
    """What a verdict is kept under."""
    return json.dumps([pair["gold"], pair["answer"], pair["completion"]])


def judged(pairs, cache_path, options):
    """Math-Verify's verdicts, from the cache where it has them; the others in random order, until the time is over."""
    cache = {}
    if cache_path and cache_path.exists():
        cache = dict(json.loads(line) for line in cache_path.read_text(encoding="utf-8").splitlines())
    missing = [pair for pair in pairs if key(pair) not in cache]
    random.Random(options.seed).shuffle(missing)
    end = time.monotonic() + 60 * options.minutes
    with multiprocessing.Pool(options.processes) as pool:
        log = cache_path.open("a", encoding="utf-8") if cache_path else None
        for pair, verdict in zip(missing, pool.imap(judge, missing, chunksize=5)):
            cache[key(pair)] = verdict
            if log:
                log.write(json.dumps([key(pair), verdict]) + "\n")
            if time.monotonic() > end:
                pool.terminate()
                break
        if log:
            log.close()
    return cache


def ours(pairs, binary):
    """Our verdicts."""
    fields = ("gold", "answer", "completion")
    lines = "".join(json.dumps({field: pair[field] for field in fields}) + "\n" for pair in pairs)
    done = subprocess.run([binary], input=lines, capture_output=True, text=True, check=True)
    print(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    """Compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--binary", help="built from data/examples/math_answers.rs; without it only Math-Verify runs")
    parser.add_argument("--cache", type=Path, help="a file that keeps Math-Verify's verdicts")
    parser.add_argument("--disagreements", type=Path, help="where to write the pairs on which the two differ")
    parser.add_argument("--near", type=int, default=5000, help="pairs of golds of the same shape")
    parser.add_argument("--random", type=int, default=5000, help="pairs of golds of different problems")
    parser.add_argument("--minutes", type=float, default=600, help="how long Math-Verify may judge what the cache lacks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    pairs = pairs_of(options.files, options)
    cache = judged(pairs, options.cache, options)
    if not options.binary:
        return
    print(f"{sum(key(pair) in cache for pair in pairs)} of {len(pairs)} pairs are judged by Math-Verify")
    pairs = [pair for pair in pairs if key(pair) in cache]
    theirs = [cache[key(pair)] for pair in pairs]
    verdicts = ours(pairs, options.binary)
    table = collections.defaultdict(collections.Counter)
    differing = []
    for pair, reference, verdict in zip(pairs, theirs, verdicts, strict=True):
        for source in (pair["source"], "all"):
            table[source][(verdict["equal"], reference)] += 1
        if verdict["equal"] != reference:
            differing.append(pair | {"ours": verdict["equal"], "read": verdict["read"], "math_verify": reference})
    columns = [(True, True), (False, False), (True, False), (False, True)]
    print("| source | pairs | both equal | both unequal | only ours equal | only Math-Verify's equal | agreement |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for source, counts in table.items():
        total = sum(counts.values())
        agreement = 100 * (counts[True, True] + counts[False, False]) / total
        cells = " | ".join(str(counts[column]) for column in columns)
        print(f"| {source} | {total} | {cells} | {agreement:.2f} % |")
    known = zip(pairs, verdicts, theirs, strict=True)
    expected = [(pair, verdict["equal"], verify) for pair, verdict, verify in known if pair["expected"] is not None]
    if expected:
        right = lambda which: sum(row[which] == row[0]["expected"] for row in expected)
        print(f"of {len(expected)} pairs with a known verdict, ours is right on {right(1)}, Math-Verify's on {right(2)}")
    if options.disagreements:
        options.disagreements.write_text("".join(json.dumps(row) + "\n" for row in differing), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How fast is this project beside Hugging Face transformers on a published model?

    cargo build -p rl --release
    target/release/rl export --checkpoint MODEL --out FOLDER      # a GGUF file, say; a Hugging Face folder goes as it is
    python scripts/bench_pretrained.py FOLDER [--rl target/release/rl] [--threads 1,2] [--pairs 2]

Times in turn, in f32, and prints medians and ratios as a Markdown table: a training step of all weights (4 rows of 96 tokens;
forward, backward, clipping, AdamW), and a rollout (16 samples of each of 4 prompts of 64 tokens, 48 new ones, without an end),
`generate` of transformers with `num_return_sequences=16`. Needs torch and transformers; last run with torch 2.15.0 and
transformers 5.24.0.
"""

import argparse
import json
import subprocess
import sys

from bench_peers import median, report, timed, tokens_of

ROWS, SEQ, PROMPTS, PROMPT, SAMPLES, NEW = 4, 96, 4, 64, 16, 48


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rl", default="target/release/rl")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(PEERS[arguments.peer](arguments.folder, int(arguments.threads))))
        return
    print("| threads | work | who | tokens/s | CPU s per 1,000 tokens | peak MB | ours is |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads.split(","):
        for work in PEERS:
            runs = []
            for _ in range(arguments.pairs):
                command = [sys.executable, __file__, arguments.folder, "--peer", work, "--threads", threads]
                theirs = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                runs.append((ours(arguments, work, threads), theirs))
            medians = [[median(run[who][i] for run in runs) for i in range(3)] for who in range(2)]
            for who, (rate, cpu, peak) in zip(["ours", "transformers"], medians):
                ratio = "" if who == "ours" else f"{medians[0][0] / rate:.2f} x"
                print(f"| {threads} | {work} | {who} | {rate:,.0f} | {cpu:.2f} | {peak:,.0f} | {ratio} |", flush=True)


def ours(arguments, work, threads):
    small = ["--samples", "1", "--new-tokens", "1", "--batch", str(ROWS), "--seq", str(SEQ)]
    rollout = ["--prompts", str(PROMPTS), "--samples", str(SAMPLES), "--new-tokens", str(NEW), "--batch", "1"]
    flags = small if work == "training" else [*rollout, "--seq", str(PROMPT)]
    command = [arguments.rl, "bench", "--model", arguments.folder, "--threads", threads, "--json", "--repeats", "3", *flags]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    timing = found[work]
    return timing["tokens_per_s"], 1000 * timing["cpu_s"] / timing["tokens"], found["peak_memory_mb"]


def load(folder, threads):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def training(folder, threads):
    import torch

    model = load(folder, threads).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.98), weight_decay=0.01)
    tokens = torch.tensor([tokens_of(row * SEQ, SEQ, model.config.vocab_size) for row in range(ROWS)])

    def step():
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    wall, cpu, _ = timed(step, 3)
    return report(ROWS * SEQ, wall, cpu)


def rollout(folder, threads):
    import torch

    model = load(folder, threads).eval()
    ids = torch.tensor([tokens_of(p * PROMPT, PROMPT, model.config.vocab_size) for p in range(PROMPTS)])
    model.generation_config.eos_token_id = None

    def sample():
        mask = torch.ones_like(ids)
        return model.generate(
            ids, attention_mask=mask, do_sample=True, top_k=0, num_return_sequences=SAMPLES, max_new_tokens=NEW, pad_token_id=0
        )

    wall, cpu, _ = timed(sample, 1)
    return report(PROMPTS * SAMPLES * NEW, wall, cpu)


PEERS = {"training": training, "rollout": rollout}

if __name__ == "__main__":
    main()

"""Does Hugging Face transformers see the same model in a checkpoint as this project?

    cargo build -p rl --release
    python scripts/check_transformers.py CHECKPOINT [--rl target/release/rl]

Samples completions with `rl generate --json`, loads the checkpoint with AutoModelForCausalLM and AutoTokenizer, and compares
the prompt's token ids (by the text that they give back) and the log-probability of every sampled token. Exits with 1 where
they differ by more than 1e-4. Needs torch and transformers; last run with torch 2.15.0 and transformers 5.23.0.
"""

import argparse
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "Question: Tom has 3 apples and buys 4 more. How many apples does Tom have?\nAnswer:",
    "Question: A box holds 6 pens. How many pens are in 5 boxes?\nAnswer:",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--rl", default="target/release/rl")
    arguments = parser.parse_args()
    command = [arguments.rl, "generate", "--init", arguments.checkpoint, "--json", "--samples", "4"]
    for prompt in PROMPTS:
        command += ["--prompt", prompt]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    model = AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    worst = max(difference(model, tokenizer, json.loads(line)) for line in lines)
    print(f"{len(lines)} completions, largest difference of a log-probability {worst:.2e}")
    sys.exit(worst > 1e-4)


def difference(model, tokenizer, line):
    prompt = tokenizer(line["prompt"], add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(line["tokens"], skip_special_tokens=True) == line["completion"], line
    ids = torch.tensor([prompt + line["tokens"]])
    with torch.no_grad():
        log_probs = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
    chosen = log_probs.gather(1, torch.tensor(line["tokens"])[:, None])[:, 0]
    return (chosen - torch.tensor(line["log_probs"])).abs().max().item()


if __name__ == "__main__":
    main()

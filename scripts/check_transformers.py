"""Does Hugging Face transformers see the same model in a checkpoint as this project?

    cargo build -p rl --release
    python scripts/check_transformers.py CHECKPOINT [--base FOLDER] [--rl target/release/rl]

Samples completions with `rl generate --json`, loads the checkpoint with AutoModelForCausalLM and AutoTokenizer, and compares
the prompt's token ids (by the text that they give back) and the log-probability of every sampled token. Exits with 1 where
they differ by more than 1e-4. With --base, the Hugging Face folder that adapters were trained on (`rl export` writes one), the
same of that model with the checkpoint's adapters, as PEFT puts them on. Needs torch and transformers, and peft for --base; last
run with torch 2.15.0, transformers 5.24.0 and peft 0.21.2.
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
    parser.add_argument("--base")
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
    if arguments.base:
        import peft

        base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32)
        adapted = peft.PeftModel.from_pretrained(base, f"{arguments.checkpoint}/adapters").eval()
        of_adapters = max(difference(adapted, tokenizer, json.loads(line)) for line in lines)
        print(f"the same of base and adapters {of_adapters:.2e}")
        worst = max(worst, of_adapters)
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

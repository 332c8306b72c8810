"""Does Hugging Face transformers see the same model in a checkpoint as this project?

    cargo build -p rl --release
    python scripts/check_transformers.py CHECKPOINT [--base FOLDER] [--rl target/release/rl]
    python scripts/check_transformers.py --families

Samples completions with `rl generate --json`, loads the checkpoint with AutoModelForCausalLM and AutoTokenizer, and compares
the prompt's token ids (by the text that they give back) and the log-probability of every sampled token. Exits with 1 where
they differ by more than 1e-4. With --base, the Hugging Face folder that adapters were trained on (`rl export` writes one), the
same of that model with the checkpoint's adapters, as PEFT puts them on. With --families, the same of the random tiny models of every
architecture that the tests have, after `rl export`; their logits as transformers sees them before and after are compared as
well, which may not differ at all where the export is in f32 and the model was. Needs torch and transformers, and peft for --base; last
run with torch 2.15.0, transformers 5.24.0 and peft 0.21.2.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tokenizers
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

FAMILIES = pathlib.Path(__file__).parent.parent / "model/tests/fixtures"
PROMPTS = [
    "Question: Tom has 3 apples and buys 4 more. How many apples does Tom have?\nAnswer:",
    "Question: A box holds 6 pens. How many pens are in 5 boxes?\nAnswer:",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?")
    parser.add_argument("--base")
    parser.add_argument("--families", action="store_true")
    parser.add_argument("--rl", default="target/release/rl")
    arguments = parser.parse_args()
    disable_progress_bar()
    if arguments.families:
        sys.exit(not all([is_same_after_export(folder, arguments.rl) for folder in sorted(FAMILIES.glob("*_tiny"))]))
    if not arguments.checkpoint:
        parser.error("give a checkpoint, or --families")
    lines, tokenizer, worst = compare(arguments.checkpoint, PROMPTS, arguments.rl)
    if arguments.base:
        import peft

        base = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32)
        adapted = peft.PeftModel.from_pretrained(base, f"{arguments.checkpoint}/adapters").eval()
        of_adapters = max(difference(adapted, tokenizer, json.loads(line)) for line in lines)
        print(f"the same of base and adapters {of_adapters:.2e}")
        worst = max(worst, of_adapters)
    sys.exit(worst > 1e-4)


def compare(checkpoint, prompts, rl, reader=AutoTokenizer):
    """Completions, the tokenizer, and the largest difference of a log-probability."""
    command = [rl, "generate", "--init", checkpoint, "--json", "--samples", "4", "--max-new-tokens", "40"]
    for prompt in prompts:
        command += ["--prompt", prompt]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = reader.from_pretrained(checkpoint)
    worst = max(difference(model, tokenizer, json.loads(line)) for line in lines)
    print(f"{len(lines)} completions, largest difference of a log-probability {worst:.2e}")
    return lines, tokenizer, worst


def is_same_after_export(folder, rl):
    """Whether one of the tests' models, with a tokenizer of as many words, is the same to transformers after `rl export`."""
    with tempfile.TemporaryDirectory() as place:
        before, after = f"{place}/before", f"{place}/after"
        shutil.copytree(folder, before)
        model = AutoModelForCausalLM.from_pretrained(before, dtype=torch.float32).eval()
        words = {f"word{i}" if i else "<end>": i for i in range(model.config.vocab_size)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(before)
        subprocess.run([rl, "export", "--checkpoint", before, "--out", after], check=True, capture_output=True)
        exported = AutoModelForCausalLM.from_pretrained(after, dtype=torch.float32).eval()
        ids = torch.arange(1, 25)[None]
        with torch.no_grad():
            moved = (model(ids).logits - exported(ids).logits).abs().max().item()
        print(f"{folder.name}, {type(model).__name__}: largest difference of a logit {moved:.2e}; ", end="")
        # AutoTokenizer reads Qwen's as byte-level, whatever the file says.
        _, _, worst = compare(after, ["word3 word1 word4", "word1 word5 word9 word2"], rl, PreTrainedTokenizerFast)
    return moved == 0 and worst < 1e-4


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

"""How long is a whole step of PPO beside TRL's, on the same model, prompts, machine and threads?

    cargo build -p rl --release
    python scripts/bench_trl.py CHECKPOINT [--rl target/release/rl] [--trl-python PYTHON] [--threads 1,2] [--pairs 3]

CHECKPOINT is one that `rl sft --benchmark synthetic-1` has left (RUN/checkpoints/step-N). A step is a rollout of 256 samples, 4 of each of 64
questions of `synthetic-1`, which has no calculator, at most 112 tokens each; one pass over them by policy, critic and reference; and 4 epochs
of 4 optimiser steps of 64 samples. Our rewards are those of `--reward sparse`; TRL's reward model here is one that computes
nothing. Both have critics: ours is a copy of the top blocks, TRL's a copy of the whole model.

TRL 1.16 has no PPO any more; --trl-python names a Python that has an older one (last run with trl 0.24.0, transformers
4.57.1, torch 2.15.0). Medians over the steps after the first and over pairs, as a Markdown table.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

QUESTIONS, SAMPLES, NEW_TOKENS, EPOCHS, MINI_BATCH, STEPS = 64, 4, 112, 4, 64, 4
TEMPERATURE = 0.7


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--rl", default="target/release/rl")
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=3, help="how often each is timed, in turn")
    # TRL's half, in a process of its own: the file with the prompts.
    parser.add_argument("--trl", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trl:
        print(json.dumps(trl(arguments.checkpoint, arguments.trl, int(arguments.threads))))
        return
    print("| threads | who | tokens a sample | seconds a step | CPU s a step | peak MB | ours is |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads.split(","):
        both = {"ours": [], "TRL": []}
        for _ in range(arguments.pairs):
            with tempfile.TemporaryDirectory() as folder:
                both["ours"].append(ours(arguments.rl, arguments.checkpoint, threads, pathlib.Path(folder)))
                command = [arguments.trl_python, __file__, arguments.checkpoint, "--threads", threads]
                command += ["--trl", f"{folder}/prompts.json"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                both["TRL"].append(json.loads(done.stdout.splitlines()[-1]))
        columns = {who: [statistics.median(run[i] for run in runs) for i in range(4)] for who, runs in both.items()}
        for who, (tokens, wall, cpu, peak) in columns.items():
            ratio = f"{wall / columns['ours'][1]:.1f} x" if who == "TRL" else ""
            print(f"| {threads} | {who} | {tokens:.1f} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {ratio} |", flush=True)


def ours(rl, checkpoint, threads, folder):
    """Tokens a sample, wall and CPU seconds a step, peak memory; leaves the prompts in `prompts.json`."""
    run = folder / "run"
    flags = f"--steps {STEPS} --questions {QUESTIONS} --samples {SAMPLES} --ppo-epochs {EPOCHS} --mini-batch {MINI_BATCH}"
    flags += " --benchmark synthetic-1 --filter-groups=false"
    flags += f" --temperature {TEMPERATURE} --max-new-tokens {NEW_TOKENS} --eval-every 1000 --eval-problems 1"
    flags += f" --test-problems 1 --test-samples 1 --threads {threads} --quiet --init {checkpoint} --out {run}"
    subprocess.run([rl, "ppo", *flags.split()], check=True, capture_output=True)
    steps = [json.loads(line) for line in open(run / "metrics.jsonl")][1:]
    samples = [json.loads(line) for line in open(run / "samples.jsonl")]
    prompts = [f"Question: {sample['question']}\nAnswer:" for sample in samples]
    json.dump(prompts, open(folder / "prompts.json", "w"))
    found = [statistics.median(step[name] for step in steps) for name in ["length/mean", "time/step_s", "time/cpu_s"]]
    return found + [max(step["time/peak_memory_mb"] for step in steps)]


def trl(checkpoint, prompts, threads):
    """The same of TRL's `PPOTrainer`."""
    import resource

    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
    )
    from trl import PPOConfig, PPOTrainer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    ids = [tokenizer(prompt)["input_ids"] for prompt in json.load(open(prompts))]
    # Something to pad with that no prompt holds.
    used = {token for prompt in ids for token in prompt}
    tokenizer.pad_token_id = next(token for token in range(1, len(tokenizer)) if token not in used)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    critic = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=1, dtype=torch.float32)

    class Nothing(torch.nn.Module):
        """A reward model that says 0 and computes nothing."""

        base_model_prefix = "trunk"

        class Trunk(torch.nn.Module):
            def forward(self, input_ids, **_):
                return type("Output", (), {"hidden_states": [torch.zeros(*input_ids.shape, 1)]})

        def __init__(self):
            super().__init__()
            self.trunk, self.score = self.Trunk(), torch.nn.Identity()

    ends, lengths = [], []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            now = os.times()
            ends.append((time.perf_counter(), now.user + now.system))

    class Timed(PPOTrainer):
        def log(self, metrics, *_, **__):
            pass

    rollouts = QUESTIONS * SAMPLES
    config = PPOConfig(
        output_dir=os.path.join(os.path.dirname(prompts), "trl"),
        per_device_train_batch_size=rollouts,
        num_mini_batches=rollouts // MINI_BATCH,
        num_ppo_epochs=EPOCHS,
        total_episodes=rollouts * STEPS,
        response_length=NEW_TOKENS,
        local_rollout_forward_batch_size=rollouts,
        temperature=TEMPERATURE,
        stop_token="eos",
        num_sample_generations=0,
        learning_rate=1e-4,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    trainer = Timed(
        args=config,
        processing_class=tokenizer,
        model=model,
        ref_model=reference,
        reward_model=Nothing(),
        value_model=critic,
        train_dataset=Dataset.from_dict({"input_ids": ids}),
        callbacks=[Clock()],
    )
    generate = model.generate

    def counted(*arguments, **named):
        out = generate(*arguments, **named)
        context = named["input_ids"].shape[1]
        for row in out.sequences[:, context:].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            lengths.append(end)
        return out

    model.generate = counted
    trainer.train()
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(ends, ends[1:])]
    wall, cpu = (statistics.median(step[i] for step in steps) for i in range(2))
    return [statistics.mean(lengths), wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]


if __name__ == "__main__":
    main()

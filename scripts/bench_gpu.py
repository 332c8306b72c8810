"""What a GPU makes of this project, and of PyTorch and transformers beside it, in one call of twenty minutes.

    cargo build -p rl --release --features cuda
    python3 scripts/bench_gpu.py [--rl target/release/rl] [--device cuda] [--minutes 20] [--out gpu.md]

In this order, each as long as time is left, written to OUT as it comes. Most of it is the compiling and the choice of kernels, minutes
for each shape; they are kept, so that what was cut off is faster when called again.

1. `rl verify`: what the device computes, beside the CPU;
2. a training step and a rollout (128 prompts, 8 samples, 128 tokens) of each shape with random weights, matrix products in bf16:
   tokens a second, the share of the matrix units' limit (MFU), memory, time of one repetition;
3. the same work in PyTorch: training by transformers' model, `eager` and `compiled`, with autocast to bf16, and `generate`;
   our tokens a second over theirs. Skipped where torch and transformers are not installed;
4. where the time goes: the kernels of the last shape's training step and rollout, by the device's own clock, each waited for;
5. the main job, `rl ppo`, from nothing; a quarter of the time is kept for it.

MFU counts 6 N operations a token of training and 2 N a token written, N all parameters, against --peak-tflops (default: bf16
without sparsity of an H100 SXM).
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-5, "tie_word_embeddings": True}
QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
NAMES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
SHAPES = {
    "small": (LLAMA, (512, 384, 6, 6, 6, 1024)),
    "smollm2-135m": (LLAMA, (49_152, 576, 30, 9, 3, 1536)),
    "qwen2-0.5b": (QWEN, (151_936, 896, 24, 14, 2, 4864)),
}
# Kernels are kept in target/environment of the workspace that a process is started in, or else elsewhere.
BESIDE_THE_KERNELS = Path("target").resolve() if Path("target").is_dir() else None
# What cubecl runs to know a device before it tunes kernels for it.
MEASURING = ("MemoryDirectThroughput", "ComputeDirectThroughput", "LaunchOverhead", "PrimeBuffer")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rl", default="target/release/rl")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", default="gpu.md")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--batch", type=int, default=32, help="rows of a training step")
    parser.add_argument("--seq", type=int, default=512, help="tokens of a training row; a prompt has a quarter of it")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=989.0)
    parser.add_argument("--main-job", default="", help="flags of the main job")
    # One peer, in a process of its own so that memory is its own.
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(peer(arguments, *arguments.peer)))
        return
    Bench(arguments).run()


class Bench:
    """What is left of the time, and where what is found goes."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.ends = time.monotonic() + 60 * arguments.minutes
        self.out = Path(arguments.out)
        self.out.write_text("")

    def run(self):
        a = self.arguments
        self.say(f"`rl verify --device {a.device}`:\n")
        self.say("```\n" + self.call([a.rl, "verify", "--device", a.device], share=0.3) + "```\n")
        self.say("| shape | work | who | tokens/s | MFU | memory, MB | s | ours is |")
        self.say("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
        rates = {}
        with tempfile.TemporaryDirectory() as folder:
            for shape in a.shapes.split(","):
                config = Path(folder) / f"{shape}.json"
                config.write_text(json.dumps(config_of(shape, a)))
                for work in ("training", "rollout"):
                    rates[shape, work] = self.ours(shape, config, work)
        has_peers = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
        for shape in a.shapes.split(",") if has_peers else []:
            for work, who in [("training", "eager"), ("rollout", "generate"), ("training", "compiled")]:
                self.theirs(shape, work, who, rates[shape, work])
        if not has_peers:
            self.say("\nPyTorch and transformers are not installed: nothing to compare with.")
        for work in ("training", "rollout"):
            self.kernels(a.shapes.split(",")[-1], work)
        with tempfile.TemporaryDirectory(dir=BESIDE_THE_KERNELS) as folder:
            started = time.monotonic()
            job = [a.rl, "ppo", "--device", a.device, "--out", "ppo", "--quiet", *a.main_job.split()]
            said = self.call(job, cwd=folder, share=1.0, kept=0)
            self.say(f"\nThe main job, `rl ppo`, {time.monotonic() - started:.0f} s:\n\n```\n{said}```")

    def ours(self, shape, config, work):
        said = self.call(self.bench(config, work), share=0.35)
        try:
            report = json.loads(said)
        except ValueError:
            return self.row(shape, work, "ours", said)
        held = report["device_memory_mb"] or report["peak_memory_mb"]
        timing = report[work]
        self.row(shape, work, "ours", (timing["tokens_per_s"], held, timing["median_s"], report["parameters"]))
        return timing["tokens_per_s"]

    def kernels(self, shape, work):
        """Which kernels the time goes to, of all repetitions and what warms up; those that measure the device itself left out."""
        with tempfile.TemporaryDirectory(dir=BESIDE_THE_KERNELS) as folder:
            config, log = Path(folder) / "config.json", Path(folder) / "kernels.log"
            config.write_text(json.dumps(config_of(shape, self.arguments)))
            # What cubecl reads where a program starts.
            logger = f'{{ level = "basic", file = "{log}" }}'
            Path(folder, "cubecl.toml").write_text(f"[profiling]\nlogger = {logger}\n")
            said = self.call(self.bench(config, work), share=0.2, cwd=folder)
            lines = log.read_text().splitlines() if log.exists() else []
        seconds, times = Counter(), Counter()
        for line in lines:
            if found := re.match(r"\| ([\d.]+)(ns|µs|ms|s) *\| (\w+)", line):
                value, unit, name = found.groups()
                if name.startswith(MEASURING):
                    continue
                seconds[name] += float(value) * {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
                times[name] += 1
        if not seconds:
            return self.say(f"\nNo kernel of {shape}, {work}, was timed: {(said.strip().splitlines() or ['nothing said'])[-1]}")
        whole = sum(seconds.values())
        self.say(f"\n{shape}, {work}: {sum(times.values())} kernels, {whole:.3f} s. Of them\n")
        self.say("| kernel | times | s | share |\n| --- | ---: | ---: | ---: |")
        for name, spent in seconds.most_common(12):
            self.say(f"| {name[:60]} | {times[name]} | {spent:.3f} | {100 * spent / whole:.1f} % |")

    def bench(self, config, work):
        a = self.arguments
        command = [a.rl, "bench", "--json", "--model", str(config), "--device", a.device, "--dtype", a.dtype]
        command += ["--repeats", str(a.repeats), "--rollout-batch", str(a.prompts * a.samples), "--micro-batch", str(a.batch)]
        # The other kind of work is as small as it gets.
        return command + {
            "training": ["--batch", str(a.batch), "--seq", str(a.seq), "--prompts", "1", "--samples", "1", "--new-tokens", "1"],
            "rollout": ["--batch", "1", "--seq", str(a.seq // 4), "--prompts", str(a.prompts), "--samples", str(a.samples)]
            + ["--new-tokens", str(a.new_tokens)],
        }[work]

    def theirs(self, shape, work, who, rate):
        flags = ["--device", "--dtype", "--batch", "--seq", "--prompts", "--samples", "--new-tokens", "--repeats"]
        values = [str(getattr(self.arguments, flag[2:].replace("-", "_"))) for flag in flags]
        same = [text for pair in zip(flags, values) for text in pair]
        said = self.call([sys.executable, __file__, "--peer", shape, who, *same], share=0.3)
        try:
            self.row(shape, work, who, json.loads(said.splitlines()[-1]), rate)
        except (ValueError, IndexError):
            self.row(shape, work, who, said)

    def row(self, shape, work, who, found, rate=None):
        if isinstance(found, str):
            lines = found.strip().splitlines() or ["no time left"]
            self.say(f"| {shape} | {work} | {who} | {lines[-1][:120]} | | | | |")
            return
        tokens_per_s, held, seconds, parameters = found
        operations = (6 if work == "training" else 2) * parameters * tokens_per_s
        share = f"{100 * operations / (1e12 * self.arguments.peak_tflops):.1f} %"
        ratio = f"{rate / tokens_per_s:.2f} x" if rate else ""
        self.say(f"| {shape} | {work} | {who} | {tokens_per_s:,.0f} | {share} | {held:,.0f} | {seconds:.3f} | {ratio} |")

    def call(self, command, share, cwd=None, kept=0.25):
        """What a command printed, cut off when its share of the time left is over, some of it kept."""
        left = self.ends - time.monotonic() - kept * 60 * self.arguments.minutes
        if left < 5:
            return "no time left\n"
        command[0] = str(Path(command[0]).resolve()) if cwd else command[0]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=left * share, cwd=cwd)
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"") + (late.stderr or b"")
            return said.decode(errors="replace")[-3000:] + f"\ncut off after {left * share:.0f} s\n"
        return done.stdout if done.returncode == 0 else (done.stdout + done.stderr)[-3000:]

    def say(self, text):
        print(text, flush=True)
        with self.out.open("a") as out:
            out.write(text + "\n")


def config_of(shape, arguments):
    family, numbers = SHAPES[shape]
    room = max(arguments.seq + 1, arguments.seq // 4 + arguments.new_tokens)
    return {**family, **dict(zip(NAMES, numbers)), "max_position_embeddings": room, "rope_theta": 1e5, "hidden_act": "silu"}


def peer(arguments, shape, who):
    """Tokens a second, memory, seconds, and parameters of the same work by transformers."""
    import resource
    import statistics

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    a = arguments
    fields = config_of(shape, a)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    config = AutoConfig.for_model(**{**fields, "pad_token_id": 0, "eos_token_id": None})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(a.device)
    on_gpu = a.device == "cuda"
    if who == "generate":
        model = model.eval().to(torch.bfloat16 if a.dtype == "bf16" else torch.float32)
        prompts = torch.randint(1, fields["vocab_size"], (a.prompts, a.seq // 4), device=a.device)
        sampling = {"do_sample": True, "top_k": 0, "num_return_sequences": a.samples, "pad_token_id": 0}
        length = {"max_new_tokens": a.new_tokens, "min_new_tokens": a.new_tokens}
        mask = torch.ones_like(prompts)
        tokens = a.prompts * a.samples * a.new_tokens

        def work():
            model.generate(prompts, attention_mask=mask, **sampling, **length)

    else:
        forward = torch.compile(model) if who == "compiled" else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=on_gpu)
        rows = torch.randint(1, fields["vocab_size"], (a.batch, a.seq), device=a.device)
        tokens = a.batch * a.seq

        def work():
            with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.dtype == "bf16"):
                loss = forward(input_ids=rows, labels=rows).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def timed():
        started = time.perf_counter()
        work()
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed()
    seconds = statistics.median(timed() for _ in range(a.repeats))
    held = torch.cuda.max_memory_reserved() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = sum(weight.numel() for weight in model.parameters())
    return tokens / seconds, held / 1e6, seconds, parameters


if __name__ == "__main__":
    main()

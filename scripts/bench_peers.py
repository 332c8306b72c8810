"""How fast is this project beside PyTorch and Hugging Face transformers, on the same machine and threads?

    cargo build -p rl --release
    python scripts/bench_peers.py [--rl target/release/rl] [--models tiny,small] [--threads 1,2] [--pairs 3]
        [--peers eager,compiled,generate,loop]

Times the same shapes one after the other, several times in turn, and prints medians and ratios as a Markdown table:

- a training step (forward, backward, clipping, AdamW): `rl bench` against a hand-written Llama of PyTorch with
  `scaled_dot_product_attention`, `eager` and `compiled`;
- a rollout, 96 samples of each of 8 prompts of differing length that end by themselves: against `generate` of transformers
  with `num_return_sequences=96`, and against a hand-written PyTorch loop with a static cache over the same prompts.

Weights are random on both sides; the tokens that end a sample are those whose id is divisible by 48, so samples have
about 48 tokens. Times are wall and CPU seconds (user and system, all threads). Needs torch and transformers; last run with
torch 2.15.0 and transformers 5.23.0.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

SHAPES = {
    # vocabulary, width, layers, heads, feed-forward, rows and tokens of a training step
    "tiny": (512, 128, 4, 4, 344, 32, 64),
    "small": (512, 384, 6, 6, 1024, 16, 128),
}
WORKS = {"training": ["eager", "compiled"], "rollout": ["generate", "loop"]}
PROMPTS, SAMPLES, LONGEST, NEW_TOKENS, ENDS = 8, 96, 64, 64, 48


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rl", default="target/release/rl")
    parser.add_argument("--models", default="tiny,small")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=3, help="how often each is timed, in turn")
    parser.add_argument("--peers", default="eager,generate,loop", help="which of eager, compiled, generate, loop")
    # One peer, in a process of its own so that threads and memory are its own.
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(PEERS[arguments.peer](arguments.models, int(arguments.threads))))
        return
    peers = arguments.peers.split(",")
    works = {work: those for work, those in WORKS.items() if set(those) & set(peers)}
    print("| model | threads | work | who | tokens/s | CPU s per 1,000 tokens | peak MB | ours is |")
    print("| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |")
    for model in arguments.models.split(","):
        for threads in map(int, arguments.threads.split(",")):
            runs = {"ours": [], **{peer: [] for peer in peers}}
            for _ in range(arguments.pairs):
                runs["ours"].append(ours(arguments.rl, model, threads, works))
                for peer in peers:
                    command = [sys.executable, __file__, "--peer", peer, "--models", model, "--threads", str(threads)]
                    runs[peer].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            for work, those in works.items():
                rate, cpu, peak = (median(run[work][i] for run in runs["ours"]) for i in range(3))
                print(f"| {model} | {threads} | {work} | ours | {rate:,.0f} | {cpu:.3f} | {peak:.0f} | |")
                for peer in (peer for peer in those if peer in runs):
                    theirs, cpu, peak = (median(run[i] for run in runs[peer]) for i in range(3))
                    row = f"| {model} | {threads} | {work} | {peer} | {theirs:,.0f} | {cpu:.3f} | {peak:.0f} "
                    print(f"{row}| {rate / theirs:.2f} x |", flush=True)


def median(values):
    return statistics.median(list(values))


def ours(rl, model, threads, works):
    """Tokens a second, CPU seconds a thousand tokens, and peak memory of each kind of work."""
    _, _, _, _, _, batch, seq = SHAPES[model]
    shared = [rl, "bench", "--model", model, "--threads", str(threads), "--json", "--batch", str(batch)]
    rollout = ["--prompts", str(PROMPTS), "--samples", str(SAMPLES), "--ragged", "--ends", str(ENDS)]
    found = {}
    flags = {
        "training": ["--seq", str(seq), "--repeats", "7", "--samples", "1", "--new-tokens", "1"],
        "rollout": ["--seq", str(LONGEST), "--new-tokens", str(NEW_TOKENS), "--repeats", "3", *rollout],
    }
    for work in works:
        report = json.loads(subprocess.run(shared + flags[work], check=True, capture_output=True).stdout)
        timing = report[work]
        found[work] = (timing["tokens_per_s"], 1000 * timing["cpu_s"] / timing["tokens"], report["peak_memory_mb"])
    return found


def timed(work, repeats):
    """Median wall and CPU seconds of `work` after one untimed call; what it returned last."""
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        before, started = os.times(), time.perf_counter()
        result = work()
        wall.append(time.perf_counter() - started)
        after = os.times()
        cpu.append(after.user + after.system - before.user - before.system)
    return median(wall), median(cpu), result


def report(tokens, wall, cpu):
    return tokens / wall, 1000 * cpu / tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def build(model):
    """A Llama as one would write it by hand: fused projections, RMSNorm, rotary positions, SwiGLU, tied embedding."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    vocabulary, width, layers, heads, feed_forward, _, _ = SHAPES[model]
    head = width // heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm = nn.RMSNorm(width, eps=1e-5)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.attention_output = nn.Linear(width, width, bias=False)
            self.feed_forward_norm = nn.RMSNorm(width, eps=1e-5)
            self.gate_up = nn.Linear(width, 2 * feed_forward, bias=False)
            self.down = nn.Linear(feed_forward, width, bias=False)

        def forward(self, x, cos, sin, cache=None, mask=None):
            batch, time, _ = x.shape
            qkv = self.qkv(self.attention_norm(x)).view(batch, time, 3, heads, head)
            query, key, value = (part.transpose(1, 2) for part in qkv.unbind(2))
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
            if cache is None:
                attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            else:
                keys, values, slot = cache
                keys[:, :, slot : slot + time], values[:, :, slot : slot + time] = key, value
                seen = slot + time
                attended = F.scaled_dot_product_attention(query, keys[:, :, :seen], values[:, :, :seen], attn_mask=mask)
            x = x + self.attention_output(attended.transpose(1, 2).reshape(batch, time, width))
            gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    class Llama(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.RMSNorm(width, eps=1e-5)
            self.shape = (layers, heads, head, vocabulary)

        def forward(self, tokens, positions, caches=None, mask=None, last=None):
            periods = 10000.0 ** (torch.arange(0, head, 2) / head)
            angles = positions[..., None, :, None] / periods
            cos, sin = angles.cos(), angles.sin()
            x = self.embedding(tokens)
            for index, block in enumerate(self.blocks):
                x = block(x, cos, sin, None if caches is None else caches[index], mask)
            if last is not None:
                x = x[torch.arange(len(last)), last][:, None]
            return F.linear(self.norm(x), self.embedding.weight)

    def rotate(x, cos, sin):
        first, second = x.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    torch.manual_seed(0)
    return Llama()


def tokens_of(start, count, vocabulary):
    return [(start + t) * 7919 % vocabulary for t in range(count)]


def training(model, threads, compiled):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    vocabulary, _, _, _, _, batch, seq = SHAPES[model]
    llama = build(model)
    forward = torch.compile(llama) if compiled else llama
    optimizer = torch.optim.AdamW(llama.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01)
    tokens = torch.tensor([tokens_of(row * seq, seq, vocabulary) for row in range(batch)])
    positions = torch.arange(seq)[None]

    def step():
        logits = forward(tokens, positions)[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, vocabulary), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(llama.parameters(), 1.0)
        optimizer.step()

    wall, cpu, _ = timed(step, 7)
    return report(batch * seq, wall, cpu)


def prompts_of(vocabulary):
    lengths = [LONGEST - p * (LONGEST // 2) // PROMPTS for p in range(PROMPTS)]
    return [tokens_of(p * LONGEST, length, vocabulary) for p, length in enumerate(lengths)]


def generate(model, threads):
    """`generate` of transformers: prompts padded on the left, 96 samples of each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(threads)
    vocabulary, width, layers, heads, feed_forward, _, _ = SHAPES[model]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=width**-0.5,
    )
    torch.manual_seed(0)
    llama = LlamaForCausalLM(config).eval()
    prompts = prompts_of(vocabulary)
    ends = list(range(0, vocabulary, ENDS))
    ids = torch.tensor([[0] * (LONGEST - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (LONGEST - len(prompt)) + [1] * len(prompt) for prompt in prompts])

    def rollout():
        return llama.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            num_return_sequences=SAMPLES,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=ends,
            pad_token_id=0,
        )

    wall, cpu, out = timed(rollout, 1)
    return report(written(out[:, LONGEST:].tolist(), set(ends)), wall, cpu)


def written(rows, ends):
    """Tokens of samples, each with the one that ends it."""
    return sum(next((at + 1 for at, token in enumerate(row) if token in ends), len(row)) for row in rows)


def loop(model, threads):
    """A loop over a static cache, written by hand: one prompt's samples at a time, read once, until all have ended."""
    import torch

    torch.set_num_threads(threads)
    llama = build(model).eval()
    layers, heads, head, vocabulary = llama.shape
    ends = torch.zeros(vocabulary, dtype=torch.bool)
    ends[::ENDS] = True

    @torch.no_grad()
    def rollout():
        total = 0
        for prompt in prompts_of(vocabulary):
            length = len(prompt)
            one = [torch.zeros(2, 1, heads, length, head) for _ in range(layers)]
            caches = [(pair[0], pair[1], 0) for pair in one]
            causal = torch.ones(length, length, dtype=torch.bool).tril()
            last = torch.tensor([length - 1])
            logits = llama(torch.tensor([prompt]), torch.arange(length)[None], caches, causal, last).expand(SAMPLES, -1, -1)
            held = [torch.zeros(2, SAMPLES, heads, length + NEW_TOKENS, head) for _ in range(layers)]
            for pair, filled in zip(held, one):
                pair[:, :, :, :length] = filled
            over = torch.zeros(SAMPLES, dtype=torch.bool)
            for place in range(NEW_TOKENS):
                probabilities = logits[:, 0].softmax(-1)
                tokens = torch.multinomial(probabilities, 1)
                probabilities.gather(1, tokens).log()
                total += int((~over).sum())
                over |= ends[tokens[:, 0]]
                if over.all() or place + 1 == NEW_TOKENS:
                    break
                caches = [(pair[0], pair[1], length + place) for pair in held]
                logits = llama(tokens, torch.full((SAMPLES, 1), length + place), caches)
        return total

    wall, cpu, total = timed(rollout, 1)
    return report(total, wall, cpu)


PEERS = {
    "eager": lambda model, threads: training(model, threads, False),
    "compiled": lambda model, threads: training(model, threads, True),
    "generate": generate,
    "loop": loop,
}

if __name__ == "__main__":
    main()

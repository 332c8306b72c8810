"""Reward by a judge: a language model behind an OpenAI-compatible endpoint rates each completion from 0 to 10.

JUDGE_URL is the endpoint (default http://127.0.0.1:8000/v1/chat/completions), JUDGE_MODEL the model, JUDGE_KEY a key if it wants one.
The reward is the rating divided by 10; None, no opinion, if the judge gives no number.
"""

import json
import os
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

URL = os.environ.get("JUDGE_URL", "http://127.0.0.1:8000/v1/chat/completions")
MODEL = os.environ.get("JUDGE_MODEL", "judge")
KEY = os.environ.get("JUDGE_KEY")
SECONDS = 50
PROMPT = """Rate the solution of a mathematics problem from 0 to 10: is it right, and is each step? Reply with the number alone.

Problem: {question}
Right answer: {answer}
Solution: {completion}
Rating:"""


def reward(item):
    """The judge's rating of one completion, from 0 to 1."""
    message = {"role": "user", "content": PROMPT.format(**item)}
    body = json.dumps({"model": MODEL, "messages": [message], "temperature": 0, "max_tokens": 8}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {KEY}"} if KEY else {})
    # An error ends this program with its message; it is started again, and the batch is sent once more.
    with urllib.request.urlopen(urllib.request.Request(URL, body, headers), timeout=SECONDS) as reply:
        text = json.load(reply)["choices"][0]["message"]["content"]
    rating = re.search(r"\d+(?:\.\d+)?", text or "")
    return min(float(rating[0]), 10.0) / 10.0 if rating else None


if __name__ == "__main__":
    with ThreadPoolExecutor(16) as pool:
        for line in sys.stdin:
            batch = json.loads(line)
            print(json.dumps({"id": batch["id"], "rewards": list(pool.map(reward, batch["items"]))}), flush=True)

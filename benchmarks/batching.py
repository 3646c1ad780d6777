#!/usr/bin/env python3
"""Continuous batching against batches that start together: the same requests, prompts of 16 to 512 random tokens and
answers of 8 to 128, from as many streams as two batches hold; a server for each policy, in turn.

Rates are output tokens a second from the first request to the last answer, TTFT that of all requests.
"""

import argparse
import random
import statistics
import sys

from load import FIRST_TOKEN_ID, Load, answers_of, quantile
from machine import Quiet, heading, median_and_range, number, say, table
from servers import MODELS, Echelon

BATCH, REQUESTS, TIMEOUT_S = 16, 96, 300
POLICIES = {
    "continuous": ["--max-batch-size", str(BATCH)],
    "dynamic": ["--batching", "dynamic", "--max-batch-size", str(BATCH), "--max-num-seqs", str(BATCH)],
    "static": ["--batching", "static", "--max-batch-size", str(BATCH)],
    "static, by length": ["--batching", "static", "--max-batch-size", str(BATCH), "--group-by-length"],
}


def make_bodies(seed):
    draw = random.Random(seed)
    return [
        {
            "prompt": [draw.randrange(FIRST_TOKEN_ID, Load.vocab_size) for _ in range(int(2 ** draw.uniform(4, 9)))],
            "max_tokens": int(2 ** draw.uniform(3, 7)),
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for _ in range(REQUESTS)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    quiet = Quiet()
    rates, ttft = {name: [] for name in POLICIES}, {name: [] for name in POLICIES}
    for round_number in range(arguments.rounds):
        for name, options in POLICIES.items():
            with Echelon(arguments.model, 1, options) as server:
                answers_of(server.server.port, make_bodies("warm")[:BATCH], BATCH, TIMEOUT_S)
                quiet.wait()
                answers = answers_of(server.server.port, make_bodies(round_number), 2 * BATCH, TIMEOUT_S)
            wall_s = max(answer.end for answer in answers) - min(answer.start for answer in answers)
            rates[name].append(sum(answer.completion_tokens for answer in answers) / wall_s)
            ttft[name].append([answer.ttft_s() for answer in answers])
            say(f"{name}: {rates[name][-1]:,.0f} tok/s")
    rows = [
        [
            name,
            median_and_range(rates[name]) + " tok/s",
            f"{number(statistics.median(a / b for a, b in zip(rates[name], rates['continuous'])))}x",
            f"{number(statistics.median(statistics.median(each) for each in ttft[name]))} s",
            f"{number(statistics.median(quantile(each, 0.99) for each in ttft[name]))} s",
        ]
        for name in POLICIES
    ]
    print(heading(f"Batching: {arguments.model}, {2 * BATCH} streams, batches of {BATCH}"))
    print(table(["policy", "output", "against continuous", "TTFT, median", "TTFT, p99"], rows))
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

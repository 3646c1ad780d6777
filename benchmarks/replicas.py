#!/usr/bin/env python3
"""What a second replica brings, and where requests with a common beginning should go.

Speed-up: 32 streams, 128 tokens in and 64 out, to -dp 2 (one thread a rank) against one rank of one thread and one of
two. Placement: CONVERSATIONS beginnings of PREFIX random tokens, each asked TURNS times with an end of its own, from
four streams in random order, to -dp 2 under each --balance, the cache of a replica too small for all of them: TTFT and
the share of prompt tokens that came from the cache. Servers in turn, a new one for each measurement.
"""

import argparse
import random
import re
import statistics
import sys

from load import FIRST_TOKEN_ID, Load, answers_of, run_load
from machine import Quiet, heading, median_and_range, number, say, table
from servers import MODELS, Echelon

CONVERSATIONS, TURNS, PREFIX, END, STREAMS, TIMEOUT_S = 12, 8, 768, 32, 4, 120
KV_BLOCKS = 256  # of a replica: ten of the beginnings
BALANCES = ("prefix", "latency", "least-loaded", "round-robin")
SIDES = {
    "1 rank, 1 thread": (1, ["--threads", "1"]),
    "-dp 2, 1 thread each": (2, ["-dp", "2", "--threads", "1"]),
    "1 rank, 2 threads": (1, ["--threads", "2"]),
}


def rate(model, side, seed):
    num_ranks, options = SIDES[side]
    with Echelon(model, num_ranks, options) as server:
        for load in (
            Load(num_requests=4, num_streams=4, output_tokens=8, seed=-1),
            Load(num_requests=64, num_streams=32, seed=seed),
        ):
            result, failures = run_load(server.url, load)
            if failures:
                raise RuntimeError(failures[0])
    return result["output_tokens_per_s"]


def make_bodies(seed):
    draw = random.Random(seed)

    def tokens(count):
        return [draw.randrange(FIRST_TOKEN_ID, Load.vocab_size) for _ in range(count)]

    beginnings = [tokens(PREFIX) for _ in range(CONVERSATIONS)]
    prompts = [beginning + tokens(END) for beginning in beginnings for _ in range(TURNS)]
    draw.shuffle(prompts)
    rest = {"max_tokens": 8, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    return [{"prompt": prompt, "ignore_eos": True, **rest} for prompt in prompts]


def place(model, balance, seed):
    """(TTFTs in ms, share of prompt tokens found in the cache)."""
    memory = ["--max-model-len", "1024", "--num-kv-blocks", str(KV_BLOCKS)]
    with Echelon(model, 2, ["-dp", "2", "--threads", "1", "--balance", balance, *memory]) as server:
        answers = answers_of(server.server.port, make_bodies(seed), STREAMS, TIMEOUT_S)
        text = server.server.get("/metrics").body.decode()
    hits, queries = (
        float(re.search(rf"^vllm:prefix_cache_{name}_total\S* (\S+)$", text, re.M)[1]) for name in ("hits", "queries")
    )
    return [1e3 * answer.ttft_s() for answer in answers], hits / queries


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    quiet = Quiet()
    rates, found = {side: [] for side in SIDES}, {balance: [] for balance in BALANCES}
    for round_number in range(arguments.rounds):
        for side in SIDES:
            quiet.wait()
            rates[side].append(rate(arguments.model, side, round_number))
            say(f"{side}: {rates[side][-1]:,.0f} tok/s")
        for balance in BALANCES:
            quiet.wait()
            found[balance].append(place(arguments.model, balance, round_number))
    first = next(iter(SIDES))
    print(heading(f"A second replica: {arguments.model}, 32 streams"))
    rows = [
        [
            side,
            median_and_range(rates[side]) + " tok/s",
            f"{number(statistics.median(a / b for a, b in zip(rates[side], rates[first])))}x",
        ]
        for side in SIDES
    ]
    print(table(["", "output", "against the first"], rows))
    print(heading(f"Placement: {CONVERSATIONS} beginnings of {PREFIX} tokens, {TURNS} requests each, -dp 2"))
    rows = [
        [
            balance,
            f"{100 * statistics.median(share for _, share in found[balance]):.0f} %",
            f"{statistics.median(statistics.median(ttft) for ttft, _ in found[balance]):.0f} ms",
            f"{statistics.median(statistics.mean(ttft) for ttft, _ in found[balance]):.0f} ms",
        ]
        for balance in BALANCES
    ]
    print(table(["--balance", "prompt tokens from the cache", "TTFT, median", "TTFT, mean"], rows))
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What long prompts do to a stream, and what the prefix cache does for a prompt that comes again.

Stream under prompts: one stream of OUTPUT tokens; when some have come, twenty prompts of 2,000 random tokens arrive at
once. The worst time between two of its tokens, against the median of the same stream undisturbed; for each
--itl-target-ms, in turn, a server for each and round. The undisturbed stream's own worst is beside it: what client and
machine add. Prompts' time is that from the first prompt's start to the last one's end. Repeated prompt: time to the
first token of 2,000 random tokens, sent twice.

The client shares the cores with the server, unless --threads leaves it some: bodies are made before, sockets are read by
plain recv, and times are parsed afterwards.
"""

import argparse
import json
import random
import socket
import statistics
import sys
import threading
import time

from load import FIRST_TOKEN_ID, Load, quantile
from machine import Quiet, heading, median_and_range, number, say, table
from servers import MODELS, Echelon

NUM_PROMPTS, PROMPT_TOKENS, OUTPUT, BEFORE = 20, 2000, 400, 60
REPEATS = 9


def make_request(prompt_tokens, output_tokens, seed):
    """The bytes of a request to /v1/completions."""
    draw = random.Random(seed)
    prompt = [draw.randrange(FIRST_TOKEN_ID, Load.vocab_size) for _ in range(prompt_tokens)]
    body = {"prompt": prompt, "max_tokens": output_tokens, "temperature": 0, "stream": True, "ignore_eos": True}
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Exchange:
    """One request on a connection of its own. Pieces of the answer with their times, parsed by tokens()."""

    def __init__(self, port, request):
        self.start = time.perf_counter()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(request)
        self.pieces = []

    def read(self, on_piece=lambda: None):
        while data := self.socket.recv(65536):
            self.pieces.append((time.perf_counter(), data))
            on_piece()
        self.socket.close()
        return self

    def token_times(self):
        if not self.pieces or not self.pieces[0][1].startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answered {b''.join(data for _, data in self.pieces)[:300]!r}")
        return [arrival for arrival, data in self.pieces for _ in range(data.count(b'data: {"id"'))]


def gaps(times):
    return [1e3 * (after - before) for before, after in zip(times[BEFORE:], times[BEFORE + 1 :])]


def stream(port, seed, prompts=()):
    """(gaps between tokens in ms, seconds the prompts took) of a stream with these prompts beside it."""
    took, reached = [], threading.Event()

    def burst():
        reached.wait()
        exchanges = [Exchange(port, prompt) for prompt in prompts]
        for exchange in exchanges:
            exchange.read().token_times()
        took.append(time.perf_counter() - exchanges[0].start)

    sender = threading.Thread(target=burst)
    if prompts:
        sender.start()
    exchange = Exchange(port, make_request(50, OUTPUT, seed))
    exchange.read(lambda: len(exchange.pieces) == BEFORE and reached.set())
    reached.set()
    if prompts:
        sender.join()
    times = exchange.token_times()
    if len(times) < OUTPUT - 1:
        raise RuntimeError(f"{len(times)} tokens came instead of {OUTPUT}")
    return gaps(times), sum(took)


def measure_stream(model, target_ms, threads, rounds, quiet):
    """One row of the table: medians over the rounds of one server."""
    alone, worst_alone, worst, ratios, p99, took = [], [], [], [], [], []
    with Echelon(model, 1, ["--itl-target-ms", str(target_ms), "--threads", str(threads)]) as server:
        port = server.server.port
        stream(port, 0)
        for round_number in range(rounds):
            quiet.wait()
            undisturbed, _ = stream(port, round_number)
            prompts = [make_request(PROMPT_TOKENS, 1, f"{target_ms} {round_number} {i}") for i in range(NUM_PROMPTS)]
            disturbed, seconds = stream(port, round_number, prompts)
            alone.append(statistics.median(undisturbed))
            worst_alone.append(max(undisturbed))
            worst.append(max(disturbed))
            ratios.append(worst[-1] / alone[-1])
            p99.append(quantile(disturbed, 0.99) / alone[-1])
            took.append(seconds)
            say(f"target {target_ms} ms: worst {worst[-1]:.1f} ms, {ratios[-1]:.1f}x the median of {alone[-1]:.2f}")
    rate = NUM_PROMPTS * PROMPT_TOKENS / statistics.median(took)
    return [
        f"{target_ms} ms" if target_ms else "none",
        str(threads),
        f"{number(statistics.median(alone))} ms",
        f"{number(statistics.median(worst_alone))} ms",
        median_and_range(worst) + " ms",
        median_and_range(ratios) + "x",
        median_and_range(p99) + "x",
        f"{rate:,.0f} tok/s",
    ]


def measure_repeated(model, quiet):
    first, again = [], []
    with Echelon(model) as server:
        port = server.server.port
        Exchange(port, make_request(16, 1, "warm")).read()
        quiet.wait()
        for index in range(REPEATS):
            request = make_request(PROMPT_TOKENS, 1, f"repeated {index}")
            for kept in (first, again):
                exchange = Exchange(port, request).read()
                kept.append(1e3 * (exchange.token_times()[0] - exchange.start))
    return first, again


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    parser.add_argument("--targets", type=int, nargs="*", default=[0, 5], help="of --itl-target-ms; 0: none [0 5]")
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1], help="that compute [2 1]")
    arguments = parser.parse_args()
    quiet = Quiet()
    rows = [
        measure_stream(arguments.model, target, threads, arguments.rounds, quiet)
        for threads in arguments.threads
        for target in arguments.targets
    ]
    print(heading(f"A stream while {NUM_PROMPTS} prompts of {PROMPT_TOKENS} tokens arrive: {arguments.model}"))
    columns = ["target", "threads", "alone, median", "alone, worst", "beside prompts, worst", "against alone", "p99 against alone", "prompts, also after the stream"]
    print(table(columns, rows))
    first, again = measure_repeated(arguments.model, quiet)
    print(heading(f"A prompt of {PROMPT_TOKENS} tokens, twice: time to the first token"))
    ratios = [before / after for before, after in zip(first, again)]
    print(
        table(
            ["first", "again", "shorter"],
            [[median_and_range(first) + " ms", median_and_range(again) + " ms", median_and_range(ratios) + "x"]],
        )
    )
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What ten times as many requests as the server can answer do to those that it answers.

Peak: as many streams as run at once and wait at most, each with its next request when one ends (closed loop). Overload:
requests at FACTOR times the peak's requests a second, whether they are answered or not (open loop); beyond the queue
they get 429. Goodput: output tokens a second of answers that are whole, those that arrive in the middle of the run;
both in turn on one server. The server has one thread, and the client the other core: what thousands of connections cost
the client is not the server's.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time

from load import FIRST_TOKEN_ID, Load, RequestFailed, complete, quantile
from machine import Quiet, heading, median_and_range, number, say, table
from servers import MODELS, Echelon

RUNNING, QUEUE, FACTOR = 32, 32, 10
PROMPT_TOKENS, OUTPUT_TOKENS, TIMEOUT_S = 128, 64, 120


class Run:
    """One run of `seconds`; its first and last parts of `edge_s` do not count."""

    def __init__(self, port, seconds, edge_s):
        self.address, self.seconds, self.edge_s = ("127.0.0.1", port), seconds, edge_s
        self.answers, self.refused, self.failures, self.num_sent = [], 0, [], 0
        draw = random.Random(time.time_ns())
        self.draw_token = lambda: draw.randrange(FIRST_TOKEN_ID, Load.vocab_size)

    async def send(self):
        self.num_sent += 1
        body = {
            "prompt": [self.draw_token() for _ in range(PROMPT_TOKENS)],
            "max_tokens": OUTPUT_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            self.answers.append(await complete(self.address, body, TIMEOUT_S))
        except RequestFailed as error:
            if str(error).startswith("HTTP 429"):
                self.refused += 1
            else:
                self.failures.append(str(error))

    async def closed(self, num_streams):
        async def stream():
            while time.perf_counter() < self.end:
                await self.send()

        await asyncio.gather(*[stream() for _ in range(num_streams)])

    async def open(self, rate):
        tasks = []
        while (now := time.perf_counter()) < self.end:
            due = int((now - self.start) * rate)
            tasks += [asyncio.create_task(self.send()) for _ in range(due - len(tasks))]
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)

    def run(self, kind, value):
        self.start = time.perf_counter()
        self.end = self.start + self.seconds
        client_s = time.process_time()
        asyncio.run(kind(self, value))
        self.client_cores = (time.process_time() - client_s) / (time.perf_counter() - self.start)
        if self.failures:
            raise RuntimeError(f"{len(self.failures)} requests failed: {self.failures[0]}")
        first, last = self.start + self.edge_s, self.end - self.edge_s
        arrivals = [moment for answer in self.answers for moment in answer.token_times]
        self.rate = sum(first <= moment < last for moment in arrivals) / (last - first)
        self.ttft_ms = [1e3 * answer.ttft_s() for answer in self.answers]
        return self


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each run [20]")
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    quiet, peaks, overloads, ratios = Quiet(), [], [], []
    options = ["--threads", "1", "--max-num-seqs", str(RUNNING), "--max-queue", str(QUEUE)]
    with Echelon(arguments.model, 1, options) as server:
        make = lambda seconds: Run(server.server.port, seconds, seconds / 5)  # noqa: E731
        make(5).run(Run.closed, RUNNING)
        for _ in range(arguments.rounds):
            quiet.wait()
            peak = make(arguments.seconds).run(Run.closed, RUNNING + QUEUE)
            overload = make(arguments.seconds).run(Run.open, FACTOR * peak.rate / OUTPUT_TOKENS)
            peaks.append(peak)
            overloads.append(overload)
            ratios.append(100 * overload.rate / peak.rate)
            say(f"{overload.rate:,.0f} of {peak.rate:,.0f} tok/s: {ratios[-1]:.1f} %")
    rows = [
        [
            name,
            f"{statistics.median(run.num_sent / run.seconds for run in runs):.0f}",
            f"{100 * statistics.median(run.refused / run.num_sent for run in runs):.0f} %",
            median_and_range([run.rate for run in runs]) + " tok/s",
            f"{number(statistics.median(statistics.median(run.ttft_ms) for run in runs) / 1e3)} s, "
            f"{number(statistics.median(quantile(run.ttft_ms, 0.99) for run in runs) / 1e3)} s",
            f"{statistics.median(run.client_cores for run in runs):.2f}",
        ]
        for name, runs in (("peak", peaks), (f"{FACTOR} times as many", overloads))
    ]
    print(heading(f"Overload: {arguments.model}, {RUNNING} run and {QUEUE} wait"))
    print(table(["", "requests/s", "429", "goodput", "TTFT, median and p99", "client's cores"], rows))
    print(f"\nGoodput under overload: {median_and_range(ratios)} % of the peak.\n\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

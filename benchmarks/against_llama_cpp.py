#!/usr/bin/env python3
"""Is Echelon within 2x of llama.cpp? Prefill of 512 tokens, one stream, 32 streams; both sides in one run, in turn,
medians of five rounds.

    LLAMA_CPP_BIN=FOLDER benchmarks/against_llama_cpp.py [--rounds 5] [--model smollm2|gemma3] [--sides NAME,NAME]

Every server is started anew in each round and is alone on the machine while it is measured; the first request to it
is a warm-up. Prefill is 512 / TTFT of a prompt of 512 random tokens with max_tokens 1; decode is 1 / TPOT of an
answer of 64 tokens to a prompt of 16; of both, three requests one after another and their median. The 32 streams are
a closed loop of 64 requests, 128 random tokens in, 64 out. Without LLAMA_CPP_BIN our side alone is measured and the
table says so.
"""

import argparse
import os
import statistics
import sys

from load import Load, run_load
from machine import Quiet, ceilings, heading, median_and_range, number, say, table
from servers import Echelon, LlamaServer, llama_bench, llama_cpp_folder

PREFILL_TOKENS, DECODE_TOKENS, DECODE_PROMPT, REPETITIONS = 512, 64, 16, 3
STREAMS, STREAM_PROMPT, STREAM_OUTPUT = 32, 128, 64
MEASURES = {
    "prefill": "prefill 512, tok/s",
    "decode": "one stream, tok/s",
    "itl": "one stream, ITL p50 ms",
    "streams": f"{STREAMS} streams, output tok/s",
    "streams_ttft": f"{STREAMS} streams, TTFT p50 ms",
    "client": f"{STREAMS} streams, client's cores",
}
LOWER_IS_BETTER = {"itl", "streams_ttft", "client"}


class Runner:
    def __init__(self, num_requests):
        self.num_requests = num_requests
        self.quiet = Quiet()
        self.seed = 0  # prompts of the whole run are all different

    def load(self, server, **parameters):
        self.seed += 1
        self.quiet.wait()
        result, failures = run_load(server.url, Load(seed=self.seed, extra=server.extra, **parameters))
        if failures:
            raise RuntimeError(f"{len(failures)} requests failed: {failures[0]}")
        return result

    def alone(self, server):
        """Prefill and decode of one stream."""
        run_load(
            server.url, Load(num_requests=1, prompt_tokens=PREFILL_TOKENS, output_tokens=8, seed=-1, extra=server.extra)
        )
        prefill = self.load(server, num_requests=REPETITIONS, prompt_tokens=PREFILL_TOKENS, output_tokens=1)
        decode = self.load(server, num_requests=REPETITIONS, prompt_tokens=DECODE_PROMPT, output_tokens=DECODE_TOKENS)
        return {
            "prefill": PREFILL_TOKENS / prefill["ttft_p50_ms"] * 1e3,
            "decode": 1e3 / decode["tpot_p50_ms"],
            "itl": decode["itl_p50_ms"],
        }

    def together(self, server):
        run_load(
            server.url,
            Load(
                num_requests=2, num_streams=2, prompt_tokens=STREAM_PROMPT, output_tokens=8, seed=-2, extra=server.extra
            ),
        )
        result = self.load(
            server,
            num_requests=self.num_requests,
            num_streams=STREAMS,
            prompt_tokens=STREAM_PROMPT,
            output_tokens=STREAM_OUTPUT,
        )
        return {
            "streams": result["output_tokens_per_s"],
            "streams_ttft": result["ttft_p50_ms"],
            "client": result["client_cores"],
        }


def sides(model, num_threads, runner):
    """{name: function that starts it, measures and returns {measure: value}}."""

    def ours(num_ranks, *arguments):
        def measure():
            with Echelon(model, num_ranks, ["--threads", num_threads // num_ranks, *arguments]) as server:
                return runner.alone(server) | runner.together(server)

        return measure

    def llama_server():
        with LlamaServer(model, num_threads, 1) as server:
            values = runner.alone(server)
        with LlamaServer(model, num_threads, STREAMS) as server:
            return values | runner.together(server)

    def bench():
        runner.quiet.wait()
        prefill, decode = llama_bench(model, num_threads, PREFILL_TOKENS, DECODE_TOKENS, REPETITIONS)
        return {"prefill": prefill, "decode": decode}

    found = {"1 rank": ours(1), "tp2": ours(2, "-tp", "2"), "pp2": ours(2, "-pp", "2")}
    return found | ({"llama-server": llama_server, "llama-bench": bench} if llama_cpp_folder() else {})


TITLES = {"1 rank": "Echelon, 1 rank", "tp2": "Echelon, -tp 2", "pp2": "Echelon, -pp 2"}


def report(values, quiet, arguments, top):
    """The medians with their ranges, and our medians over theirs."""
    rows = []
    for key, title in MEASURES.items():
        rows.append([title] + [median_and_range(values[name][key]) if values[name][key] else "" for name in values])
    print(heading(f"Against llama.cpp: {arguments.model}, {arguments.threads} threads"))
    print(f"Medians of {arguments.rounds} rounds (least-most).\n")
    print(table(["", *[TITLES.get(name, name) for name in values]], rows))
    theirs = [name for name in ("llama-server", "llama-bench") if name in values]
    if theirs:
        ratios = []
        for key in ("prefill", "decode", "streams"):
            for other in theirs:
                if not values[other][key]:
                    continue
                base = statistics.median(values[other][key])
                ratios.append(
                    [f"{MEASURES[key]} / {other}"]
                    + [f"{statistics.median(values[name][key]) / base:.2f}x" for name in values if name in TITLES]
                )
        print("\nEchelon's medians over llama.cpp's (above 1: Echelon is faster):\n")
        print(table(["", *[TITLES[name] for name in values if name in TITLES]], ratios))
    else:
        print("\nLLAMA_CPP_BIN was not set: llama.cpp was not measured.")
    print(f"\n{quiet.sentence()} The machine at best:\n{top}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=["smollm2", "gemma3"])
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side in all; an even number [cores]"
    )
    parser.add_argument("--requests", type=int, default=64, help=f"of the {STREAMS} streams together [64]")
    parser.add_argument("--sides", help="names, separated by commas: 1 rank, tp2, pp2, llama-server, llama-bench [all]")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.requests < 1 or arguments.threads < 2 or arguments.threads % 2:
        parser.error("--rounds and --requests are at least 1, --threads an even number")
    runner = Runner(arguments.requests)
    chosen = sides(arguments.model, arguments.threads, runner)
    if arguments.sides:
        unknown = set(arguments.sides.split(",")) - set(chosen)
        if unknown:
            parser.error(f"--sides: no {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
        chosen = {name: chosen[name] for name in arguments.sides.split(",")}
    top = ceilings()
    values = {name: {key: [] for key in MEASURES} for name in chosen}
    for round_number in range(1, arguments.rounds + 1):
        for name, measure in chosen.items():
            found = measure()
            for key, value in found.items():
                values[name][key].append(value)
            say(f"round {round_number}: {name}: " + ", ".join(f"{key} {number(value)}" for key, value in found.items()))
    report(values, runner.quiet, arguments, top)
    return 0


if __name__ == "__main__":
    sys.exit(main())

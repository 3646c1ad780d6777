#!/usr/bin/env python3
"""Is Echelon ahead of llama.cpp? Prefill of 512 tokens, one stream, 8 and 32 streams; both sides in one run, in turn,
medians of five rounds.

    benchmarks/against_llama_cpp.py [--rounds 5] [--model smollm2|gemma3] [--sides NAME,NAME]

Every server is started anew in each round and is alone on the machine while it is measured; the first request to it
is a warm-up. Prefill is 512 / TTFT of a prompt of 512 random tokens with max_tokens 1; decode is 1 / TPOT of an
answer of 64 tokens to a prompt of 16; of both, three requests one after another and their median. The streams are
closed loops, 128 random tokens in, 64 out, twice as many requests as streams. Without llama.cpp (benchmarks/peers/install) our side alone is measured and
the table says so.
"""

import argparse
import os
import statistics
import sys

from load import Load, run_load
from machine import Quiet, ceilings, heading, median_and_range, number, say, table
from servers import Echelon, LlamaServer, llama_bench, llama_cpp_folder

PREFILL_TOKENS, DECODE_TOKENS, DECODE_PROMPT, REPETITIONS = 512, 64, 16, 3
STREAMS, STREAM_PROMPT, STREAM_OUTPUT = (8, 32), 128, 64
MEASURES = {
    "prefill": "prefill 512, tok/s",
    "decode": "one stream, tok/s",
    "itl": "one stream, ITL p50 ms",
    "streams8": "8 streams, output tok/s",
    "streams32": "32 streams, output tok/s",
    "ttft32": "32 streams, TTFT p50 ms",
    "client32": "32 streams, client's cores",
}


class Runner:
    def __init__(self):
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

    def together(self, server, num_streams):
        """A closed loop of so many streams."""
        length = {"prompt_tokens": STREAM_PROMPT, "output_tokens": STREAM_OUTPUT}
        warm_up = length | {"output_tokens": 8}
        run_load(server.url, Load(num_requests=2, num_streams=2, seed=-2, extra=server.extra, **warm_up))
        result = self.load(server, num_requests=2 * num_streams, num_streams=num_streams, **length)
        return {
            f"streams{num_streams}": result["output_tokens_per_s"],
            f"ttft{num_streams}": result["ttft_p50_ms"],
            f"client{num_streams}": result["client_cores"],
        }


def sides(model, num_threads, runner):
    """{name: function that starts it, measures and returns {measure: value}}."""

    def ours(num_ranks, *arguments):
        def measure():
            with Echelon(model, num_ranks, ["--threads", num_threads // num_ranks, *arguments]) as server:
                values = runner.alone(server)
                for num_streams in STREAMS:
                    values |= runner.together(server, num_streams)
                return values

        return measure

    def llama_server():
        with LlamaServer(model, num_threads, 1) as server:
            values = runner.alone(server)
        for num_streams in STREAMS:
            with LlamaServer(model, num_threads, num_streams) as server:
                values |= runner.together(server, num_streams)
        return values

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
        for key in ("prefill", "decode", "streams8", "streams32"):
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
        print("\nllama.cpp is not installed (benchmarks/peers/install): it was not measured.")
    print(f"\n{quiet.sentence()} The machine at best:\n{top}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=["smollm2", "gemma3"])
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side in all; an even number [cores]"
    )
    parser.add_argument("--sides", help="names, separated by commas: 1 rank, tp2, pp2, llama-server, llama-bench [all]")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 2 or arguments.threads % 2:
        parser.error("--rounds is at least 1, --threads an even number")
    runner = Runner()
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
            for key in MEASURES.keys() & found.keys():
                values[name][key].append(found[key])
            say(f"round {round_number}: {name}: " + ", ".join(f"{key} {number(value)}" for key, value in found.items()))
    report(values, runner.quiet, arguments, top)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How near are `echelon plan` and `echelon simulate` to a server? Their times on this host, and the same load on a real
server beside them.

    benchmarks/plan.py [--rounds 3] [--model smollm2|gemma3|q4k]

Each layout in turn, a server of its own: one stream of 512 + 64 tokens and of 3,000 + 64, and 8 and 32 streams of
128 + 64, closed loop, three requests a stream. The plan is made just before each load, beside the idle server, so that
both see the machine as it is then. Medians over the rounds; a ratio is measured time over predicted time, or predicted
rate over measured rate: above 1 the prediction promised too much. The plan's TTFT is compared for one stream alone: what
a prompt waits for others that came with it, only the simulation knows.
"""

import argparse
import json
import statistics
import sys

from load import Load, run_load
from machine import BUILD, Quiet, heading, run_program, say, table
from servers import MODELS, Echelon

LAYOUTS = {"1 rank": (1, []), "-tp 2": (2, ["-tp", "2"]), "-pp 2": (2, ["-pp", "2"])}
LOADS = [(1, 512, 64), (1, 3000, 64), (8, 128, 64), (32, 128, 64)]
REQUESTS_A_STREAM = 3


def predicted(command, model, num_ranks, arguments, load):
    streams, prompt, output = load
    words = [BUILD / "echelon", command, model, "--json", "--ranks", num_ranks, *arguments]
    words += ["--concurrency", streams, "--prompt", prompt, "--output", output]
    if command == "simulate":
        words += ["--requests", REQUESTS_A_STREAM * streams]
    return json.loads(run_program([str(word) for word in words], timeout_s=60))


def planned(*what):
    best = predicted("plan", *what)["layouts"][0]["full_load"]
    return {
        "TTFT, ms": best["ttft_s"] * 1e3 if what[-1][0] == 1 else None,
        "TPOT, ms": best["tpot_s"] * 1e3,
        "tokens/s": best["output_tokens_per_s"],
    }


def simulated(*what):
    row = predicted("simulate", *what)["rows"][0]
    return {
        "TTFT, ms": row["ttft_p50_s"] * 1e3,
        "TPOT, ms": row["tpot_p50_s"] * 1e3,
        "tokens/s": row["output_tokens_per_s"],
    }


def measured(server, load, seed):
    streams, prompt, output = load
    result, failures = run_load(
        server.url,
        Load(
            num_requests=REQUESTS_A_STREAM * streams,
            num_streams=streams,
            prompt_tokens=prompt,
            output_tokens=output,
            seed=seed,
        ),
    )
    if failures:
        raise RuntimeError(failures[0])
    return {
        "TTFT, ms": result["ttft_p50_ms"],
        "TPOT, ms": result["tpot_p50_ms"],
        "tokens/s": result["output_tokens_per_s"],
    }


def row(layout, load, figure, found):
    streams, prompt, output = load
    plan, simulation, server = (
        None if any(each[figure] is None for each in side) else statistics.median(each[figure] for each in side)
        for side in zip(*found)
    )

    def cells(value):
        if value is None:
            return ["", ""]
        return [f"{value:.4g}", f"{value / server if figure == 'tokens/s' else server / value:.2f}x"]

    return [layout, f"{streams} x ({prompt} + {output})", figure, f"{server:.4g}", *cells(plan), *cells(simulation)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    quiet = Quiet()
    found = {}
    for round_number in range(1, arguments.rounds + 1):
        for layout, (num_ranks, serve) in LAYOUTS.items():
            with Echelon(arguments.model, num_ranks, serve) as server:
                measured(server, (8, 128, 64), seed=-round_number)  # touches the KV cache
                for number, load in enumerate(LOADS):
                    quiet.wait()
                    what = server.model, num_ranks, serve, load
                    three = planned(*what), simulated(*what), measured(server, load, seed=100 * round_number + number)
                    found.setdefault((layout, load), []).append(three)
                    rates = " : ".join(f"{each['tokens/s']:.0f}" for each in three)
                    say(f"round {round_number}: {layout}, {load}: planned : simulated : measured {rates} tok/s")

    print(heading(f"How near are plan and simulation to a server? {arguments.model}"))
    print(f"Medians of {arguments.rounds}.\n")
    rows = [
        row(layout, load, figure, three)
        for (layout, load), three in found.items()
        for figure in ("TTFT, ms", "TPOT, ms", "tokens/s")
    ]
    print(table(["layout", "load", "", "measured", "planned", "", "simulated", ""], rows))
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

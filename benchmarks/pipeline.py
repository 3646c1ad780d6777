#!/usr/bin/env python3
"""Do the stages of the pipeline overlap? Once with stages that sleep (real ranks, scheduler and channels), once with
a real model.

    benchmarks/pipeline.py [--rounds 5] [--model smollm2|gemma3|q4k]

Sleeping: pipeline_bench on 2, 3 and 4 ranks through launch/run, every stage sleeping 10 ms a micro-batch, then 2 ms;
its head says what its three figures are. Real: 16 prompts of 512
random tokens at once, one token each, -pp 2 with as many micro-batches in flight as stages (the default) against
--max-in-flight 1, and one rank with as many threads beside them; a server of its own for each measurement, in turn,
medians.
"""

import argparse
import re
import statistics
import sys

from load import Load, run_load
from machine import Quiet, heading, median_and_range, run_ranks, say, table
from servers import MODELS, Echelon

PROMPTS, PROMPT_TOKENS = 16, 512
SLEEPS = [(num_stages, ms) for ms in (10, 2) for num_stages in (2, 3, 4)]
SLEEPING_FIGURES = {
    "steady rate, of the ceiling": re.compile(r"^steady: .*: ([\d.]+) % of it$", re.MULTILINE),
    "16 cold micro-batches, of the ideal time": re.compile(r"^cold: .* ms, ([\d.]+) of the ideal", re.MULTILINE),
    "a prompt of 16,384, against one stage": re.compile(r"^prefill: .* ms, ([\d.]+) times as fast", re.MULTILINE),
}


def sleeping_stages(num_stages, ms):
    """{figure: its median over pipeline_bench's rounds}."""
    output = run_ranks("pipeline_bench", num_stages, arguments=[str(ms)])
    found = {name: [float(value) for value in line.findall(output)] for name, line in SLEEPING_FIGURES.items()}
    if not all(found.values()):
        raise RuntimeError(f"pipeline_bench printed no figures:\n{output}")
    return {name: statistics.median(values) for name, values in found.items()}


def prefill_rate(server, seed):
    """Prompt tokens a second of PROMPTS prompts that come at once."""
    warm_up = Load(num_requests=2, num_streams=2, prompt_tokens=PROMPT_TOKENS, output_tokens=1, seed=-1)
    load = Load(num_requests=PROMPTS, num_streams=PROMPTS, prompt_tokens=PROMPT_TOKENS, output_tokens=1, seed=seed)
    for one in (warm_up, load):
        result, failures = run_load(server.url, one)
        if failures:
            raise RuntimeError(failures[0])
    return result["prompt_tokens_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds is at least 1")
    quiet = Quiet()
    quiet.wait()
    sleeping = []
    for num_stages, ms in SLEEPS:
        sleeping.append(sleeping_stages(num_stages, ms))
        say(f"{num_stages} stages that sleep {ms} ms: {sleeping[-1]}")

    sides = {
        "-pp 2, --max-in-flight 1": (2, ["-pp", "2", "--max-in-flight", "1"]),
        "-pp 2": (2, ["-pp", "2"]),
        "1 rank": (1, []),
    }
    rates = {name: [] for name in sides}
    for round_number in range(1, arguments.rounds + 1):
        for name, (num_ranks, serve) in sides.items():
            with Echelon(arguments.model, num_ranks, serve) as server:
                quiet.wait()
                rates[name].append(prefill_rate(server, seed=round_number))
            say(f"round {round_number}: {name}: {rates[name][-1]:.0f} tokens/s")

    print(heading(f"Do the stages overlap? {arguments.model}"))
    print("Stages that sleep, medians of five:\n")
    steady, cold, prefill = SLEEPING_FIGURES
    print(
        table(
            ["stages", "each sleeps", steady, cold, prefill],
            [
                [num_stages, f"{ms} ms", f"{found[steady]:.1f} %", f"{found[cold]:.3f}x", f"{found[prefill]:.2f}x"]
                for (num_stages, ms), found in zip(SLEEPS, sleeping, strict=True)
            ],
        )
    )
    print()
    base = statistics.median(rates["-pp 2, --max-in-flight 1"])
    print(f"{PROMPTS} prompts of {PROMPT_TOKENS} tokens at once, medians of {arguments.rounds} (least-most):\n")
    print(
        table(
            ["", "prompt tokens/s", "of one in flight"],
            [
                [name, median_and_range(values), f"{statistics.median(values) / base:.2f}x"]
                for name, values in rates.items()
            ],
        )
    )
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

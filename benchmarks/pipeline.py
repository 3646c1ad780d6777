#!/usr/bin/env python3
"""Do the stages of the pipeline overlap? Once with stages that sleep (real ranks, scheduler and channels), once with
a real model.

    benchmarks/pipeline.py [--rounds 5] [--model smollm2|gemma3|q4k]

Sleeping: pipeline_bench on three ranks through launch/run; 24 sequences decode, every stage sleeps 10 ms a micro-
batch; the full pipeline's rate against three times the rate with one micro-batch in flight. Real: 16 prompts of 512
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

NUM_STAGES, PROMPTS, PROMPT_TOKENS = 3, 16, 512
SLEEPING_LINE = re.compile(r"([\d.]+) micro-batches/s with 1 in flight, ([\d.]+) with \d+ \(ceiling ([\d.]+)\)")


def sleeping_stages():
    """[(micro-batches/s with one in flight, with all)] of each of pipeline_bench's rounds."""
    output = run_ranks("pipeline_bench", NUM_STAGES)
    found = [tuple(map(float, match)) for match in SLEEPING_LINE.findall(output)]
    if not found:
        raise RuntimeError(f"pipeline_bench printed no rate:\n{output}")
    return found


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
    sleeping = sleeping_stages()
    say(f"sleeping stages: {len(sleeping)} rounds")

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
    one, full, ceiling = (statistics.median(values) for values in zip(*sleeping))
    print(
        f"{NUM_STAGES} stages that sleep 10 ms: {one:.1f} micro-batches/s with one in flight, "
        f"{full:.1f} with {NUM_STAGES}: "
        f"**{100 * full / (NUM_STAGES * one):.0f} %** of {NUM_STAGES} times one, "
        f"{100 * full / ceiling:.0f} % of what 10 ms a stage "
        f"allow ({ceiling:.0f}); medians of {len(sleeping)}.\n"
    )
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

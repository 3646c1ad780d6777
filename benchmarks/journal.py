#!/usr/bin/env python3
"""What does --journal cost?

    benchmarks/journal.py [--rounds 7] [--streams 32] [--model smollm2|gemma3|q4k]

Two servers of one rank, with a journal and without, both up for the whole run; in each round the same load to each, in
turn, the first of them by turns. Ratios with : without of the medians: output tokens/s, processor time of the server's
process per output token (which other work on the machine moves less), TTFT.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

from idle import processor_seconds
from load import Load, run_load
from machine import Quiet, heading, median_and_range, say, table
from servers import MODELS, Echelon

OUTPUT_TOKENS = 64


def measure(server, num_streams, seed):
    """(output tokens/s, microseconds of processor time per output token, milliseconds to the first token)."""
    load = Load(num_requests=2 * num_streams, num_streams=num_streams, prompt_tokens=32, output_tokens=OUTPUT_TOKENS,
                seed=seed, extra=server.extra)
    (pid,) = server.pids().values()
    before = processor_seconds(pid)
    result, failures = run_load(server.url, load)
    if failures:
        raise RuntimeError(failures[0])
    used_us = (processor_seconds(pid) - before) * 1e6 / (load.num_requests * OUTPUT_TOKENS)
    return result["output_tokens_per_s"], used_us, result["ttft_p50_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.streams < 1:
        parser.error("--rounds and --streams are at least 1")
    quiet = Quiet()
    with tempfile.TemporaryDirectory() as folder, Echelon(arguments.model) as without, \
            Echelon(arguments.model, 1, ["--journal", folder]) as with_journal:
        servers = {"without": without, "with --journal": with_journal}
        rows = {name: [] for name in servers}
        for server in servers.values():
            measure(server, arguments.streams, 0)
        for round_number in range(1, arguments.rounds + 1):
            quiet.wait()
            for name in sorted(servers, reverse=round_number % 2 == 0):
                rows[name].append(measure(servers[name], arguments.streams, round_number))
            say(f"round {round_number}: {rows['without'][-1]} without, {rows['with --journal'][-1]} with")
        size = sum(file.stat().st_size for file in pathlib.Path(folder).iterdir())
        num_tokens = (arguments.rounds + 1) * 2 * arguments.streams * OUTPUT_TOKENS
    print(heading(f"The journal's cost: {arguments.model}, {arguments.streams} streams"))
    columns = ["", "output tokens/s", "processor time per token, us", "TTFT, ms"]
    lines = [[name, *(median_and_range(column) for column in zip(*found))] for name, found in rows.items()]
    ratios = [statistics.median(a[i] / b[i] for a, b in zip(rows["with --journal"], rows["without"])) for i in range(3)]
    lines.append(["with : without, median of rounds", *(f"{ratio:.3f}" for ratio in ratios)])
    print(table(columns, lines))
    print(f"\n{size / num_tokens:.0f} bytes of file for an output token.\n\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

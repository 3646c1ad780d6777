#!/usr/bin/env python3
"""How long from launch/run to ready and to a first token, and what do the ranks of an idle server cost?

    benchmarks/idle.py [--rounds 5] [--seconds 20] [--model smollm2|gemma3|q4k]

Start: from the start of launch/run (or llama-server, when it is installed) to the first 200 of its health endpoint,
asked every 2 ms, and to the first token of a prompt of 16 that is sent then; the model's file is read first, so that
it is in the page cache; sides in turn, medians. Memory: what a rank of ours keeps beside its packed weights (VmRSS
less echelon_rank_weight_bytes; pages of files apart) once it has given that token; of the KV cache one block is
touched then. Idle: processor time of each rank's process over some seconds, as a share of one core, after it has
answered a request, so that what answering leaves running counts.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import statistics
import sys
import time

from load import Load, run_load
from machine import Quiet, heading, median_and_range, number, say, table
from servers import MODELS, Echelon, LlamaServer, llama_cpp_folder, model_file

SETTLE_S, IDLE_S = 2, 20


def processor_seconds(pid):
    """User and system time of a process, all threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_shares(server, seconds):
    """{process: share of a core in percent}."""
    _, failures = run_load(server.url, Load(num_requests=2, num_streams=2, output_tokens=8, extra=server.extra))
    if failures:
        raise RuntimeError(failures[0])
    time.sleep(SETTLE_S)
    pids = server.pids()
    before, start = {name: processor_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    after, passed = {name: processor_seconds(pid) for name, pid in pids.items()}, time.monotonic() - start
    return {name: 100 * (after[name] - before[name]) / passed for name in pids}


def memory_beside_weights(server):
    """{rank: (MB beside weights and file pages, MB of file pages)} of ours; nothing of another server."""
    if not isinstance(server, Echelon):
        return {}
    text = server.server.get("/metrics").body.decode()
    found = {}
    for index, (name, pid) in enumerate(server.pids().items()):
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        resident, file = (int(status[field].split()[0]) * 1024 for field in ("VmRSS", "RssFile"))
        weights = float(re.search(rf'^echelon_rank_weight_bytes{{[^}}]*rank="{index}"[^}}]*}} (\S+)', text, re.M)[1])
        found[name] = (resident - file - weights) / 1e6, file / 1e6
    return found


def first_token_seconds(server):
    """From now to the first token of an answer."""
    load = Load(num_requests=1, prompt_tokens=16, output_tokens=1, extra=server.extra)
    result, failures = run_load(server.url, load)
    if failures:
        raise RuntimeError(failures[0])
    return result["ttft_p50_ms"] / 1e3


@dataclasses.dataclass
class Side:
    """What was measured of one server: of every round the seconds to ready and to a first token and the memory of its
    ranks (as memory_beside_weights returns it), and the shares of a core when idle."""

    ready_s: list = dataclasses.field(default_factory=list)
    first_token_s: list = dataclasses.field(default_factory=list)
    memory: list = dataclasses.field(default_factory=list)
    idle: dict = dataclasses.field(default_factory=dict)

    def median_memory(self):
        """[(MB beside weights and file pages, MB of file pages)] of each rank."""
        return [
            tuple(statistics.median(found[rank][part] for found in self.memory) for part in (0, 1))
            for rank in self.memory[0]
        ]


def measure(model, num_rounds, idle_seconds, quiet):
    """{name: Side}."""
    servers = {
        "Echelon, 1 rank": lambda: Echelon(model),
        "Echelon, -tp 2": lambda: Echelon(model, 2, ["-tp", "2"]),
        "Echelon, -pp 2": lambda: Echelon(model, 2, ["-pp", "2"]),
    }
    if llama_cpp_folder():
        servers["llama-server"] = lambda: LlamaServer(model, len(os.sched_getaffinity(0)), 1)
    sides = {name: Side() for name in servers}
    for round_number in range(1, num_rounds + 1):
        for name, make in servers.items():
            side = sides[name]
            pathlib.Path(model_file(model)).read_bytes()
            quiet.wait()
            with make() as server:
                side.ready_s.append(server.start_s)
                side.first_token_s.append(server.start_s + first_token_seconds(server))
                side.memory.append(memory_beside_weights(server))
                say(f"round {round_number}: {name}: ready after {server.start_s:.2f} s")
                if round_number == 1:
                    side.idle = idle_shares(server, idle_seconds)
    return sides


def report(sides, model, num_rounds, idle_seconds):
    rows = [
        [
            name,
            median_and_range(side.ready_s),
            median_and_range(side.first_token_s),
            ", ".join(f"{beside:.0f} (+ {file:.0f} of files)" for beside, file in side.median_memory()),
            ", ".join(f"{process}: {number(share)} %" for process, share in side.idle.items()),
        ]
        for name, side in sides.items()
    ]
    print(heading(f"Start and idle: {model}"))
    print(
        f"Start and memory: medians of {num_rounds} (least-most), file in the page cache. "
        f"Idle: over {idle_seconds:.0f} s.\n"
    )
    columns = ["", "start to ready, s", "to a first token, s", "memory beside weights, MB", "idle, share of a core"]
    print(table(columns, rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=IDLE_S, help=f"of idleness [{IDLE_S}]")
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    quiet = Quiet()
    sides = measure(arguments.model, arguments.rounds, arguments.seconds, quiet)
    report(sides, arguments.model, arguments.rounds, arguments.seconds)
    print(f"\n{quiet.sentence()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

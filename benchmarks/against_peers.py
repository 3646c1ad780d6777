#!/usr/bin/env python3
"""Is Echelon ahead of llama.cpp and of vLLM on the CPU? Prefill of 512 tokens, one stream, 8 and 32 streams; all sides
in one run, in turn, medians of five rounds.

    benchmarks/against_peers.py [--rounds 5] [--model smollm2|gemma3|q4k] [--sides NAME,NAME]

Every server is started anew in each round and is alone on the machine while it is measured. Ours is warmed up by as
many prompts as fill its KV cache once, since the peers write to theirs before they are ready (fresh memory came at 0.5
or at 25 GB/s in one virtual machine); the first request to a peer is its warm-up. vLLM, which takes a minute or two to start, is started in the first round and stopped (SIGSTOP) while others
are measured. Prefill is 512 / TTFT of a prompt of 512 random tokens with max_tokens 1; decode is 1 / TPOT of an answer
of 64 tokens to a prompt of 16; of both, three requests one after another and their median. The streams are closed
loops, 128 random tokens in, 64 out, twice as many requests as streams. vLLM has SmolLM2's weights in bfloat16, all
others read the same file. Peers that are not installed (benchmarks/peers/install) are left out and the report says so.
"""

import argparse
import contextlib
import os
import statistics
import sys

from load import Load, run_load
from machine import Quiet, ceilings, heading, median_and_range, number, say, table
from servers import MODELS, SLOT_CONTEXT, VLLM_MODEL, Echelon, LlamaServer, Vllm, llama_bench, llama_cpp_folder, vllm_folder

PREFILL_TOKENS, DECODE_TOKENS, DECODE_PROMPT, REPETITIONS = 512, 64, 16, 3
STREAMS, STREAM_PROMPT, STREAM_OUTPUT = (8, 32), 128, 64
KV_BLOCKS, BLOCK_TOKENS = 384, 32  # of ours: twice what 32 streams hold
MEASURES = {
    "prefill": "prefill 512, tok/s",
    "decode": "one stream, tok/s",
    "itl": "one stream, ITL p50 ms",
    "streams8": "8 streams, output tok/s",
    "streams32": "32 streams, output tok/s",
    "ttft32": "32 streams, TTFT p50 ms",
    "client32": "32 streams, client's cores",
}
COMPARED = ("prefill", "decode", "streams8", "streams32")
TITLES = {"1 rank": "Echelon, 1 rank", "tp2": "Echelon, -tp 2", "pp2": "Echelon, -pp 2"}
PEERS = ("llama-server", "llama-bench", "vLLM")


class Runner:
    """Sends the loads of a whole run. `streams`: how many at once, beside one alone."""

    def __init__(self, quiet, streams=STREAMS):
        self.quiet, self.streams = quiet, streams
        self.seed = 0  # prompts of the whole run are all different

    def load(self, server, **parameters):
        self.seed += 1
        self.quiet.wait()
        result, failures = run_load(server.url, Load(seed=self.seed, extra=server.extra, **parameters))
        if failures:
            raise RuntimeError(f"{len(failures)} requests failed: {failures[0]}")
        return result

    def fill_cache(self, server):
        """Prompts of KV_BLOCKS blocks in all."""
        num_requests = KV_BLOCKS * BLOCK_TOKENS // PREFILL_TOKENS
        self.load(server, num_requests=num_requests, prompt_tokens=PREFILL_TOKENS, output_tokens=1)

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

    def everything(self, server):
        values = self.alone(server)
        for num_streams in self.streams:
            values |= self.together(server, num_streams)
        return values


class PausedVllm:
    """Measures vLLM when called: starts it the first time, and keeps it stopped from one time to the next. Leaving the
    with statement ends it."""

    def __init__(self, num_threads, runner):
        self.num_threads, self.runner, self.server = num_threads, runner, None

    def __enter__(self):
        return self

    def __call__(self):
        if self.server is None:
            self.server = Vllm(self.num_threads, max(self.runner.streams, default=1)).__enter__()
            say(f"vLLM: ready after {self.server.start_s:.0f} s")
        self.server.resume()
        values = self.runner.everything(self.server)
        self.server.pause()
        return values

    def __exit__(self, *error):
        if self.server is not None:
            self.server.__exit__(*error)


def sides(model, num_threads, runner, stack):
    """{name: function that starts it, measures and returns {measure: value}}; what outlives a round goes to `stack`."""

    def ours(num_ranks, *arguments):
        def measure():
            sizes = ["--threads", num_threads // num_ranks, "--num-kv-blocks", KV_BLOCKS]
            sizes += ["--max-model-len", SLOT_CONTEXT]
            with Echelon(model, num_ranks, [*sizes, *arguments]) as server:
                runner.fill_cache(server)
                return runner.everything(server)

        return measure

    def llama_server():
        with LlamaServer(model, num_threads, 1) as server:
            values = runner.alone(server)
        for num_streams in runner.streams:
            with LlamaServer(model, num_threads, num_streams) as server:
                values |= runner.together(server, num_streams)
        return values

    def bench():
        runner.quiet.wait()
        prefill, decode = llama_bench(model, num_threads, PREFILL_TOKENS, DECODE_TOKENS, REPETITIONS)
        return {"prefill": prefill, "decode": decode}

    found = {"1 rank": ours(1), "tp2": ours(2, "-tp", "2"), "pp2": ours(2, "-pp", "2")}
    if llama_cpp_folder():
        found |= {"llama-server": llama_server, "llama-bench": bench}
    if vllm_folder() and model == VLLM_MODEL:
        found["vLLM"] = stack.enter_context(PausedVllm(num_threads, runner))
    return found


def missing_peers(model):
    """Those that could be measured with this model and are not installed."""
    missing = [] if llama_cpp_folder() else ["llama.cpp"]
    return missing + ([] if vllm_folder() or model != VLLM_MODEL else ["vLLM"])


def measure(model, num_threads, num_rounds, runner, names=None):
    """{side: {measure: a value of each round}}. `names`: these sides, as far as they are installed [all]."""
    with contextlib.ExitStack() as stack:
        chosen = sides(model, num_threads, runner, stack)
        chosen = {name: chosen[name] for name in names or chosen if name in chosen}
        values = {name: {key: [] for key in MEASURES} for name in chosen}
        for round_number in range(1, num_rounds + 1):
            for name, measure_side in chosen.items():
                found = measure_side()
                for key in MEASURES.keys() & found.keys():
                    values[name][key].append(found[key])
                figures = ", ".join(f"{key} {number(value)}" for key, value in found.items())
                say(f"{model}, round {round_number}: {name}: {figures}")
    return values


def ratios(values):
    """Rows of our medians over the peers'."""
    rows = []
    for key in COMPARED:
        for peer in PEERS:
            if peer in values and values[peer][key]:
                base = statistics.median(values[peer][key])
                ours = [statistics.median(values[name][key]) for name in values if name in TITLES]
                rows.append([f"{MEASURES[key]} / {peer}"] + [f"{value / base:.2f}x" for value in ours])
    return rows


def report(values, model, num_threads, num_rounds):
    """The medians with their ranges, and our medians over theirs."""
    rows = []
    for key, title in MEASURES.items():
        if any(values[name][key] for name in values):
            rows.append([title] + [median_and_range(values[name][key]) if values[name][key] else "" for name in values])
    print(heading(f"Against the peers: {model}, {num_threads} threads"))
    print(f"Medians of {num_rounds} rounds (least-most).\n")
    print(table(["", *[TITLES.get(name, name) for name in values]], rows))
    compared = ratios(values)
    if compared:
        print("\nEchelon's medians over the peers' (above 1: Echelon is faster):\n")
        print(table(["", *[TITLES[name] for name in values if name in TITLES]], compared))
    missing = missing_peers(model)
    if missing:
        print(f"\nNot installed (benchmarks/peers/install), and not measured: {', '.join(missing)}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", choices=MODELS)
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each side in all; an even number [cores]"
    )
    names = [*TITLES, *PEERS]
    parser.add_argument("--sides", help=f"names, separated by commas: {', '.join(names)} [all]")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 2 or arguments.threads % 2:
        parser.error("--rounds is at least 1, --threads an even number")
    chosen = arguments.sides.split(",") if arguments.sides else names
    if set(chosen) - set(names):
        parser.error(f"--sides: no {', '.join(sorted(set(chosen) - set(names)))}; there are {', '.join(names)}")
    quiet = Quiet()
    top = ceilings()
    values = measure(arguments.model, arguments.threads, arguments.rounds, Runner(quiet), chosen)
    report(values, arguments.model, arguments.threads, arguments.rounds)
    print(f"\n{quiet.sentence()} The machine at best:\n{top}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The C++ programs that measure one part, as functions: what benchmarks/cpu needs of them, every figure from a process
of its own, which measures its ceiling or the other side itself.
"""

import json

from machine import BUILD, built, run_program, run_ranks
from servers import model_file

MODEL_BENCH_TIMEOUT_S, MODEL_BENCH_REPETITIONS = 600, 5
PRODUCTS_BENCH_TIMEOUT_S = 600


def model_bench(model, num_threads, context):
    """model_bench --json of one sequence at so much context, without engine or HTTP; medians of its repetitions."""
    arguments = {
        "--threads": num_threads,
        "--context": context,
        "--rows": 1,
        "--repetitions": MODEL_BENCH_REPETITIONS,
    }
    command = [built("model_bench"), model_file(model), "--json"]
    command += [str(word) for pair in arguments.items() for word in pair]
    return json.loads(run_program(command, MODEL_BENCH_TIMEOUT_S))


def one_row(result, context):
    """The decode of one row at this context in what model_bench returned."""
    for decode in result["decode"]:
        if (decode["rows"], decode["context"]) == (1, context):
            return decode
    raise ValueError(f"model_bench decoded no single row at context {context}")


def exchange_bench():
    """{KiB: (microseconds through the window, by MPI_Allreduce)} of two ranks, each on its core. MPI runs with the
    settings of launch/run: without them it takes twice as long from 8 KiB on."""
    lines = [line.split() for line in run_ranks("exchange_bench", 2, ["--bind-to", "core"]).splitlines()]
    found = {int(line[0]): (float(line[1]), float(line[2])) for line in lines if len(line) == 4 and line[0].isdigit()}
    if not found:
        raise RuntimeError("exchange_bench printed no times")
    return found


def order_tax():
    """{(weights, rows): (ms by the tree, ms as one sum, ratio)} of products_bench tax/...: SmolLM2's layers' products
    alone, on one thread. Nothing where Google Benchmark was not found, and so no products_bench built."""
    if not (BUILD / "products_bench").is_file():
        return {}
    command = [built("products_bench"), "--benchmark_filter=^tax/", "--benchmark_format=json"]
    found = {}
    for one in json.loads(run_program(command, PRODUCTS_BENCH_TIMEOUT_S))["benchmarks"]:
        _, weights, _, rows, *_ = one["run_name"].split("/")  # tax/u4/avx2/rows:8/iterations:1
        found[weights, int(rows.removeprefix("rows:"))] = (one["tree_ms"], one["one_leaf_ms"], one["ratio"])
    return found

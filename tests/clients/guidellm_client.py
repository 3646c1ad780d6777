#!/usr/bin/env python3
"""Runs guidellm against a running server: a sweep over chats (one stream, as many as there are, a rate between) and a short run of completions. No
request may fail, and each must have as many tokens as were asked for.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
Usage: guidellm_client.py --base-url http://127.0.0.1:8000 --model NAME --tokenizer HUGGING_FACE_FOLDER [--api-key KEY]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

PROMPT_TOKENS, OUTPUT_TOKENS, NUM_REQUESTS = 24, 8, 4
TIMEOUT_S = 300


def check(condition, message):
    if not condition:
        print(f"guidellm client: {message}", file=sys.stderr)
        sys.exit(1)


def run(arguments, request_format, profile, folder):
    """The report of a run."""
    report = pathlib.Path(folder) / "report.json"
    backend = {"kind": "openai_http", "target": arguments.base_url, "model": arguments.model,
               "request_format": request_format}
    if arguments.api_key:
        backend["api_key"] = arguments.api_key
    data = {"kind": "synthetic_text", "prompt_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    command = [pathlib.Path(sys.executable).with_name("guidellm"), "run", "--disable-progress",
               "--backend", json.dumps(backend), "--profile", json.dumps(profile),
               "--constraint", json.dumps({"kind": "max_requests", "count": NUM_REQUESTS}),
               "--constraint", json.dumps({"kind": "max_errors", "count": 1}),
               "--tokenizer", json.dumps({"kind": "huggingface_auto", "model": arguments.tokenizer}),
               "--data", json.dumps(data), "--output", json.dumps({"kind": "json", "path": str(report)})]
    environment = {**os.environ, "HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false", "GUIDELLM__LOGGING__DISABLED": "true"}
    done = subprocess.run(command, env=environment, cwd=folder, timeout=TIMEOUT_S, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, f"{request_format} ended with {done.returncode}: {done.stdout[-2000:]}")
    return json.loads(report.read_text())


def check_run(report, request_format, num_benchmarks):
    benchmarks = report["benchmarks"]
    check(len(benchmarks) == num_benchmarks, f"{request_format}: {len(benchmarks)} benchmarks of {num_benchmarks}")
    for index, benchmark in enumerate(benchmarks):
        requests = benchmark["requests"]
        where = f"{request_format}, benchmark {index}"
        check(not requests["errored"], f"{where}: {requests['errored'][:1]}")
        lengths = [request["output_tokens"] for request in requests["successful"]]
        check(lengths and set(lengths) == {OUTPUT_TOKENS}, f"{where}: output tokens {lengths}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True, help="a folder with the model's tokenizer.json")
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    arguments.tokenizer = str(pathlib.Path(arguments.tokenizer).resolve())
    with tempfile.TemporaryDirectory(prefix="echelon-guidellm-") as folder:
        sweep = {"kind": "sweep", "sweep_size": 3}
        check_run(run(arguments, "/v1/chat/completions", sweep, folder), "/v1/chat/completions", 3)
        two = {"kind": "concurrent", "streams": 2}
        check_run(run(arguments, "/v1/completions", two, folder), "/v1/completions", 1)
    print("guidellm client: a sweep over chats and a run of completions hold")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs aiperf against a running server: a few streamed chats and completions, with usage in every chunk of a
chat. All must succeed, with as many tokens as were asked for.

Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
Usage: aiperf_client.py --base-url http://127.0.0.1:8000 --model NAME --tokenizer HUGGING_FACE_FOLDER [--api-key KEY]
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
        print(f"aiperf client: {message}", file=sys.stderr)
        sys.exit(1)


def run(arguments, endpoint, folder):
    artifacts = pathlib.Path(folder) / endpoint
    command = [pathlib.Path(sys.executable).with_name("aiperf"), "profile", "--model", arguments.model, "--url",
               arguments.base_url, "--endpoint-type", endpoint, "--streaming", "--tokenizer", arguments.tokenizer,
               "--concurrency", "2", "--request-count", NUM_REQUESTS, "--isl", PROMPT_TOKENS, "--osl", OUTPUT_TOKENS,
               "--extra-inputs", "ignore_eos:true", "--use-server-token-count", "--ui", "none", "--artifact-dir", artifacts]
    if endpoint == "chat":
        command.append("--per-chunk-usage")
    if arguments.api_key:
        command += ["--api-key", arguments.api_key]
    environment = {**os.environ, "HF_HOME": folder, "TOKENIZERS_PARALLELISM": "false"}  # told to be offline, it takes no folder as a tokenizer
    done = subprocess.run([str(word) for word in command], env=environment, cwd=folder, timeout=TIMEOUT_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, f"{endpoint} ended with {done.returncode}: {done.stdout[-2000:]}")
    return json.loads((artifacts / "profile_export_aiperf.json").read_text())


def check_run(report, endpoint):
    check(report["request_count"]["avg"] == NUM_REQUESTS, f"{endpoint}: {report['request_count']} requests succeeded")
    check(not report.get("error_summary"), f"{endpoint}: {report.get('error_summary')}")
    length = report["output_sequence_length"]
    check(length["min"] == length["max"] == OUTPUT_TOKENS, f"{endpoint}: output tokens {length}")
    check(report["time_to_first_token"]["avg"] > 0, f"{endpoint}: no time to a first token")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True, help="a folder with the model's tokenizer.json")
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    arguments.tokenizer = str(pathlib.Path(arguments.tokenizer).resolve())
    with tempfile.TemporaryDirectory(prefix="echelon-aiperf-") as folder:
        for endpoint in ("chat", "completions"):
            check_run(run(arguments, endpoint, folder), endpoint)
    print("aiperf client: streamed chats and completions hold")


if __name__ == "__main__":
    main()

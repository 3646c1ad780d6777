#!/usr/bin/env python3
"""Has `schemathesis` make requests of a running server's /openapi.json, right ones and wrong ones: no answer is a 5xx, and every one has a status, a
type and a body that the document says.

Exit code 0 when everything holds; otherwise 1, what schemathesis said, and one line. `--phases coverage,fuzzing` are the thorough ones: the first goes
through the bounds of every member, one by one.
Usage: schemathesis_client.py --base-url http://127.0.0.1:8000 --model NAME [--api-key KEY] [--phases fuzzing] [--examples 10] [--at-least 100]
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SHOWN = 400  # characters of a line: a request may have megabytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model")
    parser.add_argument("--api-key")
    parser.add_argument("--phases", default="fuzzing")
    parser.add_argument("--examples", default="10", help="of every operation, right and wrong ones")
    parser.add_argument("--at-least", type=int, default=100, help="requests that have to have been sent")
    arguments = parser.parse_args()
    command = [str(pathlib.Path(sys.executable).parent / "st"), "run", arguments.base_url + "/openapi.json", "--checks", CHECKS, "--phases",
               arguments.phases, "--max-examples", arguments.examples, "--seed", "1", "--no-color", "--no-shrink", "--warnings", "off",
               "--request-timeout", "120", "--continue-on-failure", "--suppress-health-check", "all"]
    if arguments.api_key:
        command += ["--header", f"Authorization: Bearer {arguments.api_key}"]
    with tempfile.TemporaryDirectory(prefix="echelon-schemathesis-") as folder:  # it keeps what it has found
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    sent = re.search(r"(\d+) generated", done.stdout)
    num_sent = int(sent[1]) if sent else 0
    if done.returncode != 0:
        print("\n".join(line[:SHOWN] for line in done.stdout.splitlines()), file=sys.stderr)
        print("schemathesis: something did not hold", file=sys.stderr)
        sys.exit(1)
    if num_sent < arguments.at_least:
        print(f"schemathesis: {num_sent} requests, of {arguments.at_least} that were asked for", file=sys.stderr)
        sys.exit(1)
    print(f"schemathesis: {num_sent} requests")


if __name__ == "__main__":
    main()

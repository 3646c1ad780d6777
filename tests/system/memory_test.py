#!/usr/bin/env python3
"""Requests without end: a server's memory does not grow with them. Argument: --count N."""
import argparse
import concurrent.futures
import http.client
import json
import pathlib
import random
import re
import sys
import unittest

import server as system

NUM_CLIENTS = 16
WARM_UP = 0.2  # of the requests; after it memory is measured
MOST_GROWTH_BYTES = 1024  # of a request
options = argparse.Namespace(count=100_000)


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def request(chance):
    """(path, body, status): of every kind, no two alike."""
    text = " ".join(str(chance.randrange(10_000)) for _ in range(chance.randrange(1, 12)))
    return chance.choice([
        ("/v1/completions", {"prompt": text, "max_tokens": chance.randrange(1, 3)}, 200),
        ("/v1/completions", {"prompt": text, "max_tokens": 1, "logprobs": 5, "stream": True, "user": text}, 200),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": 1, "stream": True}, 200),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "max_tokens": 1,
                                  "structured_outputs": {"choice": [text, "b"]}}, 200),
        ("/v1/responses", {"input": text, "max_output_tokens": 1, "stream": True}, 200),
        ("/v1/embeddings", {"input": text}, 200),
        ("/v1/completions", {"prompt": text, "max_tokens": -1}, 400),
        ("/v1/completions", {"prompt": text * 200, "max_tokens": 1}, 400),
        ("/tokenize", {"prompt": text * 20}, 200),
        ("/v1/" + text.replace(" ", "/"), {}, 404)])


class Memory(unittest.TestCase):
    def ask(self, server, seeds):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        for count, seed in enumerate(seeds):
            path, body, status = request(random.Random(seed))
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            self.assertEqual(response.status, status, f"request {seed}: {path} {text[:300]!r}")
            if count % 50 == 49:
                connection.close()
        connection.close()

    def test_memory_does_not_grow(self):
        with system.Server("smollm2", arguments=["--max-model-len", 256, "--max-num-seqs", NUM_CLIENTS]) as server:
            server.wait_ready()
            pid = server.rank_pid(0)
            warm = int(options.count * WARM_UP)
            with concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
                for first, last in ((0, warm), (warm, options.count)):
                    if first > 0:
                        before = resident_bytes(pid)
                    list(pool.map(lambda client: self.ask(server, range(first + client, last, NUM_CLIENTS)),
                                  range(NUM_CLIENTS)))
            grown = (resident_bytes(pid) - before) / (options.count - warm)
            print(f"\nresident memory {before / 2**20:.1f} MiB after {warm} requests, {grown:+.1f} bytes for each of the "
                  f"{options.count - warm} after them", flush=True)
            self.assertLess(grown, MOST_GROWTH_BYTES)
            self.assertEqual(server.drain(), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=options.count)
    options, others = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + others, verbosity=2)

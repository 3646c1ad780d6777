#!/usr/bin/env python3
"""Clients that leave at random points: what they held is free again within a step and 100 ms, and nothing leaks: no
slots, KV blocks, connections, file descriptors, threads or bytes. Argument: --count N."""
import argparse
import concurrent.futures
import http.client
import json
import pathlib
import random
import re
import socket
import struct
import sys
import time
import unittest

import server as system

NUM_AT_ONCE = 16
WARM_UP = 100
FREED_S = 0.1  # besides a step
SLACK_S = 1.0  # a host that does other things may take longer, now and then
MOST_LATE = 0.02  # of all disconnects
MOST_GROWTH_BYTES = 1024  # of a disconnect
WORDS = ["sea", "wind", "stone", "light", "river", "machine", "seven", "under"]
options = argparse.Namespace(count=300)


class Gauges:
    """What /metrics says, over one connection."""

    NAMES = ["echelon_slots_in_use", "vllm:num_requests_running", "vllm:num_requests_waiting", "echelon_kv_blocks_total",
             "echelon_kv_blocks_free", "echelon_http_connections", "echelon_http_requests_in_flight"]

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def read(self):
        self.connection.request("GET", "/metrics")
        text = self.connection.getresponse().read().decode()
        values = re.findall(r"^([\w:]+)(?:\{[^\n]*\})? (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in values if name in self.NAMES}

    def nothing_runs(self):
        now = self.read()
        return (now["echelon_slots_in_use"] == 0 and now["vllm:num_requests_running"] == 0 and
                now["vllm:num_requests_waiting"] == 0 and
                now["echelon_kv_blocks_free"] == now["echelon_kv_blocks_total"] and
                now["echelon_http_requests_in_flight"] == 1)


def process(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {"descriptors": len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())),
            "threads": len(list(pathlib.Path(f"/proc/{pid}/task").iterdir())),
            "bytes": int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024}


def request_bytes(chance, streams):
    prompt = " ".join(chance.choices(WORDS, k=chance.choice([1, 5, 20, 100])))
    path, body = chance.choice([
        ("/v1/completions", {"prompt": prompt, "max_tokens": 200, "n": chance.choice([1, 1, 3])}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": prompt}], "max_tokens": 200}),
        ("/v1/responses", {"input": prompt, "max_output_tokens": 200}),
        ("/v1/embeddings", {"input": [prompt] * 3})])
    if path != "/v1/embeddings":
        body["ignore_eos"] = True  # no answer ends before its client has left
    if streams and path != "/v1/embeddings":
        body["stream"] = True
    text = json.dumps(body)
    return (f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
            f"{text}").encode()


def disconnect(port, seed):
    """Comes, gets to some point, and leaves in some way; the time at which it left."""
    chance = random.Random(seed)
    point = chance.choices(["connect", "within the request", "at once", "waiting", "within the answer", "pipelined"],
                           [1, 2, 3, 3, 8, 2])[0]
    data = request_bytes(chance, streams=point == "within the answer" or chance.random() < 0.5)
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    try:
        if point == "within the request":
            connection.sendall(data[:chance.randrange(1, len(data))])
        elif point == "pipelined":
            connection.sendall(data + request_bytes(chance, True) * chance.randrange(1, 4))
        elif point != "connect":
            connection.sendall(data)
        if point in ("waiting", "pipelined"):
            time.sleep(chance.random() * 0.05)
        left = chance.randrange(1, 1500) if point == "within the answer" else 0
        while left > 0:
            piece = connection.recv(min(left, chance.choice([1, 100, 4096])))
            left -= len(piece)
            if not piece:
                break
        how = chance.choice(["close", "reset", "half"])
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half":
            connection.shutdown(socket.SHUT_WR)
            begin = time.monotonic()
            while connection.recv(1 << 16):  # the server ends it
                pass
            return begin
    finally:
        connection.close()
    return time.monotonic()


def longest_step_s(server):
    """The longest time between two tokens of a stream that is alone, prompts of others' length among them."""
    longest, before = 0.0, time.monotonic()
    for words in (1, 100, 100):
        body = {"prompt": " ".join(random.Random(words).choices(WORDS, k=words)), "max_tokens": 40, "n": 3,
                "ignore_eos": True}
        before = time.monotonic()
        for _ in server.stream("/v1/completions", body):
            now = time.monotonic()
            longest, before = max(longest, now - before), now
    return longest


class Disconnect(unittest.TestCase):
    def check_alone(self, server, gauges, seeds):
        """One at a time: how long until nothing runs any more."""
        step_s = longest_step_s(server)
        times = []
        for seed in seeds:
            begin = disconnect(server.port, seed)
            while not gauges.nothing_runs():
                self.assertLess(time.monotonic() - begin, 30, f"disconnect {seed} leaves something that runs")
                time.sleep(0.002)
            times.append(time.monotonic() - begin)
        times.sort()
        late = sum(seconds > step_s + FREED_S for seconds in times)
        print(f"\n{len(times)} clients left one at a time: all was free after p50 {times[len(times) // 2] * 1e3:.1f} ms, "
              f"p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms, at most {times[-1] * 1e3:.1f} ms; the longest step took "
              f"{step_s * 1e3:.1f} ms; {late} after a step and {FREED_S * 1e3:.0f} ms", flush=True)
        self.assertLess(times[-1], step_s + FREED_S + SLACK_S)
        self.assertLessEqual(late, len(times) * MOST_LATE)

    def test_disconnects(self):
        arguments = ["--max-num-seqs", 24, "--max-model-len", 1024, "--num-kv-blocks", 600]
        with system.Server("smollm2", arguments=arguments) as server:
            server.wait_ready()
            pid, gauges = server.rank_pid(0), Gauges(server)
            alone = options.count // 4
            with concurrent.futures.ThreadPoolExecutor(NUM_AT_ONCE) as pool:
                list(pool.map(lambda seed: disconnect(server.port, seed), range(-WARM_UP, 0)))
                system.wait_until(gauges.nothing_runs, 30, "nothing runs after the warm-up")
                self.check_alone(server, gauges, range(alone))
                before = process(pid)
                gauges.connection.close()  # opened again when it is needed: the server ends one that is idle for long
                list(pool.map(lambda seed: disconnect(server.port, seed), range(alone, options.count)))
            system.wait_until(gauges.nothing_runs, 30, "nothing runs")
            system.wait_until(lambda: gauges.read()["echelon_http_connections"] == 1, 30, "only this connection is left")
            after = process(pid)
            grown = (after["bytes"] - before["bytes"]) / (options.count - alone)
            print(f"{options.count - alone} clients left {NUM_AT_ONCE} at a time: from {before} to {after}, "
                  f"{grown:+.0f} bytes each", flush=True)
            self.assertEqual(after["descriptors"], before["descriptors"])
            self.assertEqual(after["threads"], before["threads"])
            if options.count >= 5000:
                self.assertLess(grown, MOST_GROWTH_BYTES)
            self.assertEqual(server.rank_pid(0), pid)
            gauges.connection.close()
            self.assertEqual(server.drain(), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=options.count)
    options, others = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + others, verbosity=2)

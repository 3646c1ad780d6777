#!/usr/bin/env python3
"""Streams outlive their server: rank 0 is killed under them, the job is started again, and with Last-Event-ID every
stream goes on, with the bytes of a run in which nothing happened.

`--kills N` kills N servers one after the other at random moments, on changing layouts, and prints how long the streams
were silent. Without it a few, for every run of tests.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
import unittest

import server as system

NUM_STREAMS = 32
LAYOUTS = [([], 1), (["-pp", "2", "--spares", "1"], 3), (["-tp", "2"], 2), (["-tp", "2", "-pp", "2"], 4)]


def body_of(index, num_tokens):
    body = {"model": system.MODEL_NAME, "prompt": f"{index}: The story of the {index}th lighthouse begins",
            "max_tokens": num_tokens, "ignore_eos": True, "seed": index, "temperature": 0.8 if index % 2 else 0,
            "stream": True}
    if index % 8 == 3:
        body["n"] = 2
    if index % 8 == 5:
        body |= {"repetition_penalty": 1.2, "logprobs": 1}
    if index % 8 == 7:
        body["structured_outputs"] = {"regex": "[a-z ]{400,600}"}
    return body


class Reader:
    """One stream over as many connections as it takes."""

    def __init__(self, port, body, key=None):
        self.port, self.body, self.key = port, body, key
        self.last_id = None
        self.texts, self.finishes, self.logprobs = {}, {}, []
        self.done = self.failed = False
        self.times = []
        self.num_connections = 0

    def read(self):
        """Until the end of the stream, or of the connection."""
        path, headers = "/v1/completions", {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.last_id:
            path += f"/{self.last_id.split('/')[0]}/resume"
            headers["Last-Event-ID"] = self.last_id
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request("POST", path, None if self.last_id else json.dumps(self.body), headers)
            response = connection.getresponse()
            if response.status != 200:
                return response.status
            self.num_connections += 1
            event = []
            for line in response:
                if line.strip():
                    event.append(line.decode().rstrip("\n"))
                elif line.endswith(b"\n"):
                    self.take(dict(part.split(": ", 1) for part in event if not part.startswith(":")))
                    event = []
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return 200

    def take(self, event):
        if not event:
            return
        self.times.append(time.monotonic())
        self.last_id = event.get("id", self.last_id)
        if event["data"] == "[DONE]":
            self.done = not self.failed
            return
        chunk = json.loads(event["data"])
        self.failed = "error" in chunk
        for choice in chunk.get("choices", []):
            index = choice["index"]
            self.texts[index] = self.texts.get(index, "") + choice["text"]
            if choice["logprobs"]:
                self.logprobs += choice["logprobs"]["token_logprobs"]
            if choice["finish_reason"]:
                assert index not in self.finishes
                self.finishes[index] = choice["finish_reason"]

    def read_all(self, timeout_s=300):
        deadline = time.monotonic() + timeout_s
        while not self.done:
            if self.read() not in (200, None, 429, 503):
                return self
            if time.monotonic() > deadline:
                return self
            if not self.done:
                time.sleep(0.05)
        return self

    def answer(self):
        return self.done, sorted(self.texts.items()), sorted(self.finishes.items()), self.logprobs


def undisturbed(num_tokens, num_bodies=NUM_STREAMS):
    with system.Server("smollm2") as server:
        server.wait_ready()
        readers = [Reader(server.port, body_of(index, num_tokens)) for index in range(num_bodies)]
        with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
            return [reader.answer() for reader in pool.map(Reader.read_all, readers)]


def with_lost_servers(num_kills, num_tokens, random_source, layouts=LAYOUTS):
    """The readers, and how long each kill silenced the first and the last stream that goes on."""
    port, silences = system.free_port(), []
    with tempfile.TemporaryDirectory() as journal, concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
        readers = [Reader(port, body_of(index, num_tokens)) for index in range(NUM_STREAMS)]
        results = []
        for life in range(num_kills + 1):
            arguments, num_ranks = layouts[life % len(layouts)]
            begin = time.monotonic()
            with system.Server("smollm2", num_ranks, [*arguments, "--journal", journal], port=port) as server:
                server.wait_ready()
                if not results:
                    results = [pool.submit(reader.read_all) for reader in readers]
                system.wait_until(lambda: all(r.done or r.times and r.times[-1] > begin for r in readers), 120,
                                  "every stream goes on")
                if life > 0:
                    delays = [next(t for t in reader.times if t > begin) - moment for reader in readers
                              if reader.times[-1] > begin]
                    if delays:
                        silences.append((min(delays), max(delays)))
                if life == num_kills:
                    for result in results:
                        result.result(300)
                    faults = server.metric("echelon_journal_faults_total")
                    return readers, silences, faults, server.drain()
                time.sleep(random_source.uniform(0, 1.0))
                server.signal_rank(0, signal.SIGKILL)
                moment = time.monotonic()
                code = server.wait_exit(30)
                assert code not in (0, None), f"launch/run ended with {code}"
                system.wait_until(lambda: not server.processes(), 30, "no process is left")
    return None


class Resume(unittest.TestCase):
    def test_streams_outlive_their_servers_on_any_layout(self):
        readers, _, faults, code = with_lost_servers(2, 64, random.Random(5), [LAYOUTS[1], LAYOUTS[0], LAYOUTS[2]])
        for index, (reader, expected) in enumerate(zip(readers, undisturbed(64))):
            self.assertEqual(reader.answer(), expected, f"stream {index}")
        self.assertGreater(sum(reader.num_connections for reader in readers), NUM_STREAMS)
        self.assertEqual((faults, code), (0, 0))

    def test_a_client_that_was_cut_off_goes_on(self):
        with tempfile.TemporaryDirectory() as journal, \
                system.Server("smollm2", arguments=["--journal", journal]) as server:
            server.wait_ready()
            body = body_of(1, 200)
            whole = Reader(server.port, body).read_all()
            cut = Reader(server.port, body)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            event = {}
            for line in connection.getresponse():
                if line.strip():
                    event |= [line.decode().strip().split(": ", 1)]
                else:
                    cut.take(event)
                    event = {}
                if len(cut.times) == 20:
                    break
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
            self.assertFalse(cut.done)
            self.assertEqual(cut.read_all().answer(), whole.answer())
            self.assertEqual(os.stat(journal + "/journal.sqlite3").st_mode & 0o777, 0o600)

    def test_two_servers_do_not_share_a_journal(self):
        with tempfile.TemporaryDirectory() as journal, \
                system.Server("smollm2", arguments=["--journal", journal]) as server:
            server.wait_ready()
            with system.Server("smollm2", arguments=["--journal", journal]) as second:
                self.assertNotIn(second.wait_exit(60), (0, None))
                self.assertIn("another server uses it", second.log())


def follow(port, key, num_tokens):
    """Streams of a server that another has started, and may lose: each goes on, and says what it says again."""
    with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
        first, second = ([Reader(port, body_of(index, num_tokens), key) for index in range(NUM_STREAMS)] for _ in range(2))
        answers = [reader.answer() for reader in pool.map(Reader.read_all, first)]
        again = [reader.answer() for reader in pool.map(Reader.read_all, second)]
    wrong = [index for index, (a, b) in enumerate(zip(answers, again)) if a != b or not a[0]]
    resumed = sum(reader.num_connections > 1 for reader in first)
    print(f"{len(wrong)} of {NUM_STREAMS} streams with other bytes {wrong[:5]}, {resumed} of them went on elsewhere")
    return not wrong and resumed > 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, help="row 3 of the table, so many times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--follow", type=int, metavar="PORT", help="streams of a server there, which is lost meanwhile")
    parser.add_argument("--key-file", type=pathlib.Path)
    arguments, rest = parser.parse_known_args()
    if arguments.follow:
        sys.exit(not follow(arguments.follow, arguments.key_file.read_text().strip(), 600))
    if not arguments.kills:
        unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
    random_source = random.Random(arguments.seed)
    expected = undisturbed(96)
    num_wrong = num_streams = left = 0
    silences = []
    while left < arguments.kills:
        num_kills = min(3, arguments.kills - left)
        left += num_kills
        layouts = random_source.sample(LAYOUTS, len(LAYOUTS))
        readers, times, faults, code = with_lost_servers(num_kills, 96, random_source, layouts)
        wrong = [i for i, (reader, answer) in enumerate(zip(readers, expected)) if reader.answer() != answer]
        num_wrong += len(wrong)
        assert (faults, code) == (0, 0), (faults, code)
        num_streams += len(readers)
        silences += times
        print(f"{num_kills} servers lost: {len(wrong)} of {len(readers)} streams with other bytes {wrong[:5]}; silent for "
              + ", ".join(f"{first:.2f}-{last:.2f}" for first, last in times) + " s", flush=True)
    first, last = zip(*silences)
    print(f"{arguments.kills} servers lost under {num_streams} streams: {num_wrong} with other bytes; from the kill to the "
          f"first stream {statistics.median(first):.2f} s, to the last {statistics.median(last):.2f} s "
          f"(worst {max(last):.2f})")
    sys.exit(num_wrong > 0)


if __name__ == "__main__":
    main()

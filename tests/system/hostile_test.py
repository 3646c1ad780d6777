#!/usr/bin/env python3
"""Hostile requests of a seed beside 100 streams: no crash, no 5xx but 503, no answer that takes long, and every stream
says what it says when nobody disturbs it. Arguments: --count N, --seed N.

Every answer has begun within hostile.DEADLINE_S. With ECHELON_BINARY=build/asan/echelon the sanitizers watch.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import sys
import threading
import time
import unittest

import hostile
import server as system

NUM_CANARIES = 100
NUM_TOKENS = 16
NUM_ATTACKERS = 24
MOST_SECONDS = 5.0  # to the first byte of an answer
MOST_OVER = 0.001  # of the answers without the model: where the host does other things, too, some wait
MOST_GROWTH_BYTES = 1024  # of a request, after the first tenth of them
SANITIZED = "asan" in os.environ.get("ECHELON_BINARY", "")
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|ECHELON_CHECK|terminate called|Segmentation")
options = argparse.Namespace(count=1500, seed=1)


def canary(server, index):
    """The text of a stream, as its bytes came."""
    sampling = {"temperature": 0} if index % 2 else {"temperature": 0.9, "seed": index}
    stream = server.stream("/v1/completions", {"model": system.MODEL_NAME, "prompt": f"{index}: the sea and the {index % 7}",
                                               "max_tokens": NUM_TOKENS, "ignore_eos": True, **sampling}, timeout_s=600)
    text = "".join(choice["text"] for chunk in stream for choice in chunk["choices"])
    if not stream.done:
        raise AssertionError(f"canary {index}: status {stream.status}, cut off after {text!r}")
    stream.close()
    return text.encode()


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


class Attack:
    """What the attackers share: numbers of requests, and what came of them."""

    def __init__(self, server, members):
        self.server, self.members = server, members
        self.lock = threading.Lock()
        self.sent = 0
        self.statuses = collections.Counter()
        self.kinds = collections.Counter()
        self.seconds, self.faults = [], []

    def run(self, attacker):
        """Request i is the same whoever sends it."""
        while True:
            with self.lock:
                index = self.sent
                if index >= options.count:
                    return
                self.sent += 1
            request = hostile.Generator(options.seed * 1_000_000 + index, self.members).request()
            try:
                statuses, seconds = hostile.attack(self.server.port, request)
            except (OSError, ValueError) as fault:
                with self.lock:
                    self.faults.append(f"request {index} ({request.kind}, {request.manner}): {fault!r}")
                continue
            with self.lock:
                self.kinds[request.kind] += 1
                self.statuses.update(statuses)
                if seconds is not None:
                    by_model = request.generates and statuses[:1] == [200]
                    self.seconds.append((seconds, index, request.kind, by_model))
                for status in statuses:
                    if status >= 500 and status != 503:
                        self.faults.append(f"request {index} ({request.kind}): {status} for {request.data[:300]!r}")


class Hostile(unittest.TestCase):
    def run_canary(self, server, index, ended, undisturbed):
        """One stream after the other; how many there were."""
        count = 0
        while count == 0 or not ended.is_set():
            self.assertEqual(canary(server, index), undisturbed, f"canary {index} was changed")
            count += 1
        return count

    def check_answers(self, attack):
        self.assertEqual(attack.faults[:5], [], f"{len(attack.faults)} faults")
        for by_model in (False, True):
            times = sorted(entry for entry in attack.seconds if entry[3] == by_model)
            print(f"answers {'of the model' if by_model else 'of the front end alone'}: {len(times)}, "
                  f"p50 {times[len(times) // 2][0]:.3f} s, p99 {times[len(times) * 99 // 100][0]:.3f} s, "
                  f"longest {times[-1][0]:.3f} s ({times[-1][2]}, request {times[-1][1]})", flush=True)
            over = sum(entry[0] > MOST_SECONDS for entry in times)
            print(f"    over {MOST_SECONDS} s: {over}", flush=True)
            if not by_model and not SANITIZED:
                self.assertLessEqual(over, len(times) * MOST_OVER)

    def check_whole(self, server, pid):
        system.wait_until(lambda: server.metric("echelon_http_requests_in_flight") == 1, 30, "nothing runs but this")
        system.wait_until(lambda: server.metric("echelon_slots_in_use") == 0, 30, "no slot is in use")
        blocks = server.metric("echelon_kv_blocks_total")
        system.wait_until(lambda: server.metric("echelon_kv_blocks_free") == blocks, 30, "all blocks are free")
        self.assertEqual(server.rank_pid(0), pid)
        self.assertEqual(server.drain(), 0)
        self.assertIsNone(SANITIZER.search(server.log()), server.log()[-4000:])
        self.assertNotIn("[error]", server.log())

    def test_hostile_requests(self):
        arguments = ["--max-num-seqs", 2 * NUM_CANARIES, "--max-model-len", 256, "--num-kv-blocks", 512]
        with system.Server("smollm2", arguments=arguments) as server:
            server.wait_ready(300)
            pid = server.rank_pid(0)
            attack = Attack(server, hostile.names(server))
            with concurrent.futures.ThreadPoolExecutor(NUM_CANARIES + NUM_ATTACKERS) as pool:
                undisturbed = list(pool.map(lambda index: canary(server, index), range(NUM_CANARIES)))
                ended = threading.Event()
                begin = time.monotonic()
                canaries = [pool.submit(self.run_canary, server, index, ended, text)
                            for index, text in enumerate(undisturbed)]
                attackers = [pool.submit(attack.run, index) for index in range(NUM_ATTACKERS)]
                try:
                    system.wait_until(lambda: attack.sent >= options.count // 10, 7200, "a tenth was sent")
                    warm = resident_bytes(pid)
                    for attacker in attackers:
                        attacker.result(7200)
                finally:
                    ended.set()
                grown = (resident_bytes(pid) - warm) / (options.count * 0.9)
                num_canaries = sum(canary.result(600) for canary in canaries)
            print(f"\n{options.count} hostile requests of seed {options.seed} in {time.monotonic() - begin:.0f} s beside "
                  f"{num_canaries} streams, none of them changed\nstatuses {dict(sorted(attack.statuses.items()))}\n"
                  f"kinds {dict(attack.kinds)}\nresident memory {grown:+.0f} bytes a request", flush=True)
            self.check_answers(attack)
            if not SANITIZED and options.count >= 20_000:
                self.assertLess(grown, MOST_GROWTH_BYTES)
            self.check_whole(server, pid)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=options.count)
    parser.add_argument("--seed", type=int, default=options.seed)
    options, others = parser.parse_known_args()
    unittest.main(argv=sys.argv[:1] + others, verbosity=2)

#!/usr/bin/env python3
"""Ranks are killed, or stopped, under streams: clients see a pause, and the bytes of a run in which nothing happened.

`--kills N` does so N times at random moments, prints when each was noticed and when streams went on, and fails where the
table of issue F does (noticed, first stream, last stream, all bytes equal). Without it a few, for every run of tests.
"""
import argparse
import concurrent.futures
import json
import os
import random
import re
import signal
import socket
import statistics
import sys
import threading
import time
import unittest

import server as system

NUM_STREAMS = 32


def body_of(index, num_tokens):
    return {"model": system.MODEL_NAME, "prompt": f"{index}: The story of the {index}th lighthouse begins",
            "max_tokens": num_tokens, "ignore_eos": True, "seed": index, "temperature": 0.8 if index % 2 else 0}


class Streams:
    """So many streams at a time; keeps what came, and when."""

    def __init__(self, server, num_tokens):
        self.server, self.num_tokens = server, num_tokens
        self.times = [[] for _ in range(NUM_STREAMS)]  # of every chunk
        self.pool = concurrent.futures.ThreadPoolExecutor(NUM_STREAMS)
        self.all_began = threading.Barrier(NUM_STREAMS + 1)
        self.results = [self.pool.submit(self.read, index) for index in range(NUM_STREAMS)]

    def read(self, index):
        stream = self.server.stream("/v1/completions", body_of(index, self.num_tokens), timeout_s=300)
        text, finish = "", None
        for chunk in stream:
            if not self.times[index]:
                self.all_began.wait(120)
            self.times[index].append(time.monotonic())
            for choice in chunk.get("choices", []):
                text += choice["text"]
                finish = choice["finish_reason"] or finish
            if "error" in chunk:
                finish = json.dumps(chunk["error"])
        return stream.status, stream.done, finish, text

    def wait(self):
        answers = [result.result(300) for result in self.results]
        self.pool.shutdown()
        return answers

    def went_on(self, moment):
        """Seconds from a moment until the first, and the last, stream that still ran had its next chunk."""
        delays = [next(t for t in times if t > moment) - moment for times in self.times if times and times[-1] > moment]
        return (min(delays), max(delays)) if delays else (0.0, 0.0)


def run_streams(arguments, num_ranks, num_tokens, disturb=None):
    with system.Server("smollm2", num_ranks=num_ranks, arguments=arguments) as server:
        server.wait_ready()
        streams = Streams(server, num_tokens)
        streams.all_began.wait(120)
        seen = disturb(server, streams) if disturb else None
        answers = streams.wait()
        metrics = {name: server.metric(f"echelon_{name}") for name in ("ranks_lost_total", "repairs_total")}
        code = server.drain()
        return answers, streams, seen, metrics, code, server.processes(), server.log()


class Repair(unittest.TestCase):
    expected = {}

    def undisturbed(self, num_tokens):
        if num_tokens not in self.expected:
            self.expected[num_tokens] = run_streams([], 1, num_tokens)[0]
        return self.expected[num_tokens]

    def check(self, arguments, num_ranks, disturb, num_lost, num_tokens=48):
        expected = self.undisturbed(num_tokens)
        answers, streams, seen, metrics, code, left, log = run_streams(arguments, num_ranks, num_tokens, disturb)
        self.assertEqual(answers, expected, log)
        self.assertEqual(metrics["ranks_lost_total"], num_lost)
        self.assertEqual(code, 0, log)
        self.assertEqual(left, {})
        return streams, seen, log

    @staticmethod
    def killing(rank, number=signal.SIGKILL):
        def disturb(server, _streams):
            server.signal_rank(rank, number)
            return time.monotonic()
        return disturb

    def test_a_spare_takes_over(self):
        self.check(["-pp", "2", "--spares", "1"], 3, self.killing(1), 1)

    def test_without_a_spare_the_layout_is_another(self):
        _, _, log = self.check(["-tp", "2", "-pp", "2"], 4, self.killing(3), 1)
        self.assertIn("pp 1 x tp 3 on ranks 0, 1, 2", log)

    def test_a_stopped_rank_that_wakes_up_late(self):
        def disturb(server, _streams):
            pid = server.rank_pid(2)
            os.kill(pid, signal.SIGSTOP)
            system.wait_until(lambda: server.metric("echelon_ranks_lost_total") == 1, 20, "the rank is given up")
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.check(["-tp", "2", "-pp", "2", "--spares", "1"], 5, disturb, 1)

    def test_the_other_replica_takes_over_and_the_health_says_so(self):
        def disturb(server, _streams):
            server.signal_rank(1, signal.SIGKILL)
            system.wait_until(lambda: server.metric("echelon_ranks_lost_total") == 1, 20, "the loss is noticed")
            self.assertEqual(server.get("/health/ready").status, 200)
        self.check(["-dp", "2"], 2, disturb, 1)


def measure(num_kills, arguments, num_ranks, victims, number, limits, seed):
    """Kills one of `victims` at a random moment, in a server of its own each time."""
    random_source = random.Random(seed)
    expected = run_streams([], 1, 64)[0]
    rows, num_wrong = [], 0
    for kill in range(num_kills):
        victim, delay = random_source.choice(victims), random_source.uniform(0, 1.5)

        def disturb(server, _streams):
            time.sleep(delay)
            pid = server.rank_pid(victim)
            before = time.monotonic()
            os.kill(pid, number)
            noticed = system.wait_until(lambda: f"rank {victim} is lost" in server.log() and time.monotonic(), 30,
                                        "the loss is noticed")
            if number == signal.SIGSTOP:
                time.sleep(random_source.uniform(0, 1))
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            return before, noticed - before

        answers, streams, (moment, noticed), _, code, left, log = run_streams(arguments, num_ranks, 64, disturb)
        first, last = streams.went_on(moment + noticed)
        repaired = re.findall(r"serves again after ([0-9.]+) s", log)
        good = answers == expected and code == 0 and not left
        num_wrong += not good
        rows.append((noticed, noticed + first, noticed + last))
        print(f"{'ok' if good else 'WRONG'} {kill}: rank {victim} after {delay:.2f} s: noticed {noticed:.2f}, first "
              f"{noticed + first:.2f}, last {noticed + last:.2f} s; repaired in {', '.join(repaired) or 'no'} s", flush=True)
        if not good:
            print(log, [a for a, e in zip(answers, expected) if a != e][:2], code, left, flush=True)
    worst = [max(column) for column in zip(*rows)]
    middle = [statistics.median(column) for column in zip(*rows)]
    print(f"{num_kills} times: noticed {middle[0]:.2f} (worst {worst[0]:.2f}), first stream {middle[1]:.2f} "
          f"({worst[1]:.2f}), last {middle[2]:.2f} ({worst[2]:.2f}) s; {num_wrong} with other bytes")
    return num_wrong == 0 and all(value <= limit for value, limit in zip(worst, limits))


def windows():
    return {name for name in os.listdir("/dev/shm") if name.startswith("echelon-")}


def measure_front(num_kills, seed):
    """Rank 0 is killed under streams: how long until nothing is left of the job?"""
    random_source = random.Random(seed)
    times, good = [], True
    for kill in range(num_kills):
        before_shm = windows()
        with system.Server("smollm2", num_ranks=3, arguments=["-pp", "2", "--spares", "1"]) as server:
            server.wait_ready()
            streams = [server.stream("/v1/completions", body_of(index, 400)) for index in range(8)]
            for stream in streams:
                next(iter(stream))
            time.sleep(random_source.uniform(0, 0.5))
            server.signal_rank(0, signal.SIGKILL)
            moment = time.monotonic()
            code = server.wait_exit(30)
            system.wait_until(lambda: not server.processes(), 30, "no process is left")
            times.append(time.monotonic() - moment)
            for stream in streams:
                stream.close()
            with socket.socket() as listener:  # the port is free
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", server.port))
            left = windows() - before_shm
            fine = code not in (0, None) and not left
            good &= fine
            print(f"{'ok' if fine else 'WRONG'} {kill}: all gone after {times[-1]:.2f} s, exit code {code}, {len(left)} "
                  "shared memories", flush=True)
    print(f"{num_kills} times: all gone after {statistics.median(times):.2f} s (worst {max(times):.2f})")
    return good and max(times) <= 3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, help="row 1 of the table, so many times")
    parser.add_argument("--stops", type=int, help="row 2: SIGSTOP with tp 2 x pp 2, so many times")
    parser.add_argument("--front", type=int, help="row 3: kill rank 0, so many times")
    parser.add_argument("--seed", type=int, default=1)
    arguments, rest = parser.parse_known_args()
    good = True
    if arguments.kills:
        good &= measure(arguments.kills, ["-pp", "3", "--spares", "1"], 4, [1, 2], signal.SIGKILL, (1, 4, 7), arguments.seed)
    if arguments.stops:
        good &= measure(arguments.stops, ["-tp", "2", "-pp", "2", "--spares", "1"], 5, [1, 2, 3], signal.SIGSTOP,
                        (5, 10, 15), arguments.seed)
    if arguments.front:
        good &= measure_front(arguments.front, arguments.seed)
    if arguments.kills or arguments.stops or arguments.front:
        sys.exit(not good)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()

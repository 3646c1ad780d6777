#!/usr/bin/env python3
"""Row 9 of issue F's table: everything at once, for as long as is said.  chaos.py --minutes N [--seed N] [--front]

Clients stream, and each checks its bytes against those of a server to which nothing happens. Meanwhile workers are
killed and stopped, hostile requests come, and others' clients leave at random points. When ranks have run out, the job
drains and another begins, on another layout; with --front rank 0 is killed instead, and streams go on from the journal.
Prints how many requests ended right, and fails below 99.9 %, or with a wrong byte.
"""
import argparse
import collections
import concurrent.futures
import os
import random
import signal
import sys
import tempfile
import threading
import time

import disconnect_test
import hostile
import resume_test
import server as system

NUM_CLIENTS = 16
NUM_BODIES = 64
NUM_TOKENS = 48
MOST_WRONG = 0.001
LAYOUTS = [["-tp", "2", "-pp", "2", "--spares", "2"], ["-pp", "3", "--spares", "3"], ["-dp", "2", "-pp", "2", "--spares", "1"]]
NUM_RANKS = [6, 6, 5]


class Chaos:
    def __init__(self, port, expected, seed):
        self.port, self.expected = port, expected
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.faults = []
        self.seed = seed

    def note(self, what, fault=None):
        with self.lock:
            self.counts[what] += 1
            if fault:
                self.faults.append(fault)
                print(f"  {fault}", flush=True)

    def client(self, number):
        """One stream after the other. A server that is not there, or takes no requests, is asked again."""
        chance = random.Random(f"{self.seed} client {number}")
        while not self.ended.is_set():
            index = chance.randrange(NUM_BODIES)
            reader = resume_test.Reader(self.port, resume_test.body_of(index, NUM_TOKENS))
            begin = time.monotonic()
            reader.read_all(240)
            if reader.answer() == self.expected[index]:
                self.note("right")
            elif not reader.done:
                self.note("unfinished", f"stream {index} has not ended after {time.monotonic() - begin:.0f} s")
            else:
                self.note("wrong", f"stream {index}: {reader.answer()} is not {self.expected[index]}")

    def attack(self, chance, members):
        for _ in range(chance.randrange(20, 200)):
            request = hostile.Generator(chance.randrange(1 << 40), members).request()
            try:
                statuses, _ = hostile.attack(self.port, request)
            except (OSError, ValueError):
                self.note("hostile, without an answer")
                continue
            self.note("hostile")
            for status in statuses:
                if status >= 500 and status != 503:
                    self.note("5xx", f"{status} for {request.data[:200]!r}")

    def leave(self, chance):
        for _ in range(chance.randrange(5, 60)):
            try:
                disconnect_test.disconnect(self.port, chance.randrange(1 << 40))
            except OSError:
                pass
            self.note("left")

    def life(self, chance, journal, layout, kills_front, until):
        """One job, until its ranks have run out."""
        arguments = [*LAYOUTS[layout], "--journal", journal, "--max-model-len", "1K", "--num-kv-blocks", "512"]
        workers = list(range(1, NUM_RANKS[layout]))
        chance.shuffle(workers)
        with system.Server("smollm2", NUM_RANKS[layout], arguments, port=self.port) as server:
            server.wait_ready(120)
            members = hostile.names(server)
            while workers and time.monotonic() < until:
                time.sleep(chance.uniform(1, 6))
                match chance.choices(["kill", "stop", "attack", "leave"], [2, 2, 3, 3])[0]:
                    case "attack":
                        self.attack(chance, members)
                    case "leave":
                        self.leave(chance)
                    case "kill":
                        server.signal_rank(workers.pop(), signal.SIGKILL)
                        self.note("killed")
                    case "stop":
                        self.stop(server, workers.pop(), chance)
            if faults := server.metric("echelon_journal_faults_total"):
                self.note("faults of the journal", f"{faults} faults of the journal")
            if kills_front and time.monotonic() < until:
                server.signal_rank(0, signal.SIGKILL)
                self.note("rank 0 killed")
                if server.wait_exit(30) in (0, None):
                    self.note("exit code", "launch/run says 0 after rank 0 was killed")
                system.wait_until(lambda: not server.processes(), 30, "no process is left")
                return
            if time.monotonic() >= until:
                self.ended.set()
            server.signal_rank(0, signal.SIGUSR1)
            code = server.wait_exit(300)
            self.note("drained", f"drained with exit code {code}\n{server.log()[-2000:]}" if code else None)

    def stop(self, server, rank, chance):
        pid = server.rank_pid(rank)
        os.kill(pid, signal.SIGSTOP)
        self.note("stopped")
        time.sleep(chance.uniform(0.1, 6))  # a short one is not noticed
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--front", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    chaos = Chaos(system.free_port(), resume_test.undisturbed(NUM_TOKENS, NUM_BODIES), arguments.seed)
    begin = time.monotonic()
    until = begin + arguments.minutes * 60
    with tempfile.TemporaryDirectory() as journal, concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
        clients = [pool.submit(chaos.client, number) for number in range(NUM_CLIENTS)]
        try:
            while time.monotonic() < until:
                chaos.life(chance, journal, chance.randrange(len(LAYOUTS)), arguments.front, until)
                print(f"{(time.monotonic() - begin) / 60:.1f} min: {dict(chaos.counts)}", flush=True)
        finally:
            chaos.ended.set()
        for client in clients:
            client.result(300)
    counts = chaos.counts
    total = counts["right"] + counts["unfinished"] + counts["wrong"]
    print(f"{total} requests in {(time.monotonic() - begin) / 60:.0f} min, {100 * counts['right'] / total:.3f} % right, "
          f"{counts['wrong']} with wrong bytes; {dict(counts)}")
    others = len(chaos.faults) - counts["unfinished"] - counts["wrong"]  # 5xx, exit codes, the journal: none is allowed
    sys.exit(counts["wrong"] > 0 or others > 0 or counts["right"] < total * (1 - MOST_WRONG))


if __name__ == "__main__":
    main()

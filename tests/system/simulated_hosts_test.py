#!/usr/bin/env python3
"""Four simulated hosts (hosts.py; needs root) with a rank each, 20 ms apart, on links that lose every hundredth packet:
streams have the bytes of one host, and no rank is taken for dead, also when a link is cut for 1.5 s. One that is cut for
good is noticed within 5 s, and a spare takes over. `--cuts N`: so many short cuts.
"""
import argparse
import pathlib
import random
import signal
import sys
import time
import unittest

import server as system
from hosts import INTERFACE, Hosts
from load import Load

NUM_HOSTS = 4
FRONT = "h1"  # where launch/run is called, and rank 0 runs
NUM_CLIENTS = 8
NUM_TOKENS = 24
NOTICED_S = 5


class SimulatedHosts(unittest.TestCase):
    num_cuts = 4

    @classmethod
    def setUpClass(cls):
        cls.hosts = Hosts(NUM_HOSTS).__enter__()
        cls.addClassCleanup(cls.hosts.__exit__)
        cls.hostfile = cls.hosts.folder / "hostfile"
        cls.hostfile.write_text("".join(f"{name} slots=1\n" for name in cls.hosts.names))
        with system.Server("smollm2") as server:
            load = Load(server.wait_ready(), NUM_CLIENTS, NUM_TOKENS).stop()
            assert not load.failures and len(load.texts) == NUM_CLIENTS, str(load)
            cls.expected = load.texts
        cls.hosts.enter(FRONT)

    def setUp(self):
        self.hosts.switch("delay 20 1")
        self.addCleanup(lambda: [self.hosts.switch(f"join {name}") for name in self.hosts.names])

    def serve(self, *arguments):
        return system.Server("smollm2", NUM_HOSTS, arguments=[*arguments, "--control-interface", INTERFACE],
                             environment={"OMPI_MCA_plm_rsh_agent": str(self.hosts.agent)},
                             launcher_arguments=["--hostfile", self.hostfile], prefix=self.hosts.on(FRONT))

    def check(self, server, load, num_lost):
        """Ends the clients."""
        load.stop()
        print(f"  {load}", flush=True)
        self.assertEqual(load.failures, [])
        self.assertEqual(load.texts, self.expected)
        self.assertEqual(server.metric("echelon_ranks_lost_total"), num_lost)

    def check_end(self, server, unreachable=None):
        self.assertEqual(server.drain(60), 0)
        system.wait_until(lambda: not self.left(server, unreachable), 10, "nothing is left")

    def left(self, server, unreachable):
        """Processes of the job; on a host that cannot be reached Open MPI's own, which waits for a word, may stay."""
        names = {pid: pathlib.Path(f"/proc/{pid}/exe").resolve().name for pid in server.processes()}
        waiting = self.hosts.processes_of(unreachable) if unreachable else set()
        return {pid: name for pid, name in names.items() if name == "echelon" or pid not in waiting}

    def test_delay_and_loss(self):
        with self.serve("-pp", NUM_HOSTS) as server:
            load = Load(server.wait_ready(120), NUM_CLIENTS, NUM_TOKENS)
            time.sleep(30)
            self.check(server, load, 0)
            self.check_end(server)

    def test_a_link_that_comes_back(self):
        with self.serve("-pp", NUM_HOSTS) as server:
            load = Load(server.wait_ready(120), NUM_CLIENTS, NUM_TOKENS)
            for name in random.Random(1).choices(self.hosts.names, k=self.num_cuts):
                time.sleep(4)
                self.hosts.switch(f"cut {name}")
                time.sleep(1.5)
                self.hosts.switch(f"join {name}")
            time.sleep(8)
            self.check(server, load, 0)
            self.check_end(server)

    def test_a_rank_of_another_host_is_killed(self):
        with self.serve("-pp", NUM_HOSTS - 1, "--spares", 1) as server:
            load = Load(server.wait_ready(120), NUM_CLIENTS, NUM_TOKENS)
            time.sleep(5)
            server.signal_rank(1, signal.SIGKILL)
            time.sleep(10)
            self.check(server, load, 1)
            self.check_end(server)

    def test_a_link_that_stays_cut(self):
        with self.serve("-pp", NUM_HOSTS - 1, "--spares", 1) as server:
            load = Load(server.wait_ready(120), NUM_CLIENTS, NUM_TOKENS)
            time.sleep(5)
            self.hosts.switch("cut h3")
            moment = time.monotonic()
            system.wait_until(lambda: "rank 2 is lost" in server.log(), 60, "the loss is noticed")
            noticed = time.monotonic() - moment
            time.sleep(15)
            self.check(server, load, 1)
            print(f"  noticed after {noticed:.1f} s", flush=True)
            self.assertLessEqual(noticed, NOTICED_S)
            self.check_end(server, unreachable="h3")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=SimulatedHosts.num_cuts)
    arguments, rest = parser.parse_known_args()
    SimulatedHosts.num_cuts = arguments.cuts
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()

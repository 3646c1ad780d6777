#!/usr/bin/env python3
"""What goes wrong ends the job: with one message that names the cause, a code that is not 0, and no process left."""
import pathlib
import signal
import socket
import tempfile
import unittest

import server as system


class Failure(unittest.TestCase):
    def check_end(self, server, words, timeout_s=30):
        """launch/run ends by itself with a code; one line of the log has all the words."""
        self.assertNotEqual(server.wait_exit(timeout_s), 0)
        system.wait_until(lambda: not server.processes(), 5, "no process is left")
        lines = [line for line in server.log().splitlines() if all(word in line for word in words)]
        self.assertEqual(len(lines), 1, f"lines with {words}: {lines}; log:\n{server.log()}")

    def check_lost_rank(self, num_ranks, arguments, rank):
        with system.Server("smollm2", num_ranks=num_ranks, arguments=[*arguments, "--no-repair"]) as server:
            server.wait_ready()
            stream = server.stream("/v1/completions", {"model": system.MODEL_NAME, "prompt": "a b c", "max_tokens": 500,
                                                       "ignore_eos": True})
            next(iter(stream))
            server.signal_rank(rank, signal.SIGKILL)
            self.check_end(server, [f"rank {rank}", "lost"])
            stream.close()

    def test_a_stage_is_killed(self):
        self.check_lost_rank(3, ["-pp", "3"], 2)

    def test_a_tensor_parallel_rank_is_killed(self):
        self.check_lost_rank(2, ["-tp", "2"], 1)

    def test_the_front_is_killed(self):
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2"]) as server:
            server.wait_ready()
            server.signal_rank(0, signal.SIGKILL)
            self.assertNotEqual(server.wait_exit(30), 0)
            system.wait_until(lambda: not server.processes(), 5, "no process is left")

    def test_a_rank_is_killed_while_idle(self):
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2", "--no-repair"]) as server:
            server.wait_ready()
            server.signal_rank(1, signal.SIGKILL)
            self.check_end(server, ["rank 1", "lost"])

    def test_a_truncated_model(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder) / "broken.gguf"
            with open(system.model_path("smollm2"), "rb") as whole:
                broken.write_bytes(whole.read(8 << 20))
            with system.Server(broken, num_ranks=2, arguments=["-pp", "2"]) as server:
                self.check_end(server, [str(broken)])

    def test_a_model_that_is_not_there(self):
        with system.Server("/nowhere/model.gguf", num_ranks=2, arguments=["-pp", "2"]) as server:
            self.check_end(server, ["/nowhere/model.gguf"])

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2"], port=port) as server:
                self.check_end(server, [str(port), "in use"])

    def test_a_layout_that_does_not_fit(self):
        with system.Server("smollm2", num_ranks=2, arguments=["-tp", "3"]) as server:
            self.check_end(server, ["-tp", "2 "])

    def test_a_bad_option(self):
        with system.Server("smollm2", num_ranks=2, arguments=["--max-num-seqs", "0"]) as server:
            self.check_end(server, ["--max-num-seqs", "1 to "])


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""SIGUSR1 to rank 0 under 16 streams, or the end of a Slurm job's time under load: all of them end as they would have,
new requests get 503, the job ends with 0."""
import concurrent.futures
import signal
import threading
import time
import unittest

import server as system
from load import Load

NUM_STREAMS = 16
NUM_TOKENS = 96


class Drain(unittest.TestCase):
    def check_drain(self, number):
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2", "--max-num-seqs", NUM_STREAMS]) as server:
            server.wait_ready()
            started = threading.Barrier(NUM_STREAMS + 1)

            def one_stream(index):
                stream = server.stream("/v1/completions", {
                    "model": system.MODEL_NAME, "prompt": f"{index}: Once upon a time", "max_tokens": NUM_TOKENS,
                    "ignore_eos": True, "stream_options": {"include_usage": True}})
                chunks = []
                for chunk in stream:
                    chunks.append(chunk)
                    if len(chunks) == 1:
                        started.wait(60)
                choices = [choice for chunk in chunks for choice in chunk["choices"]]
                finishes = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
                return stream.status, stream.done, finishes, chunks[-1]["usage"]["completion_tokens"]

            with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
                streams = [pool.submit(one_stream, index) for index in range(NUM_STREAMS)]
                started.wait(60)
                server.signal_rank(0, number)
                # Asked of the health, which answers at once: a request of before the signal's effect waits for a slot.
                system.wait_until(lambda: server.get("/health/ready").status == 503, 20, "the server says that it drains")
                new = server.post("/v1/completions", {"model": system.MODEL_NAME, "prompt": "a", "max_tokens": 1})
                self.assertEqual(new.status, 503)
                self.assertTrue(any(not stream.done() for stream in streams), "the streams ended before the drain")
                for stream in streams:
                    self.assertEqual(stream.result(120), (200, True, ["length"], NUM_TOKENS))
            self.assertIn("error", new.json())
            self.assertEqual(server.wait_exit(30), 0)
            self.assertEqual(server.processes(), {})

    def test_user_signal(self):
        self.check_drain(signal.SIGUSR1)

    def test_terminate_rank_0(self):
        self.check_drain(signal.SIGTERM)

    def test_before_the_job_s_time_ends(self):
        end = int(time.time()) + 30
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2", "--drain-before-end", 20],
                           environment={"SLURM_JOB_END_TIME": str(end)}) as server:
            server.wait_ready()
            load = Load(server).wait()
            self.assertTrue(load.drained_whole(), str(load))
            self.assertEqual(server.wait_exit(30), 0)
            self.assertIn("the job's time ends soon: draining", server.log())
            self.assertEqual(server.processes(), {})

    def test_an_end_that_makes_no_sense_is_said_once(self):
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2"],
                           environment={"SLURM_JOB_END_TIME": "1234"}) as server:
            server.wait_ready()
            self.assertEqual(server.log().count("SLURM_JOB_END_TIME 1234 is not a time to come"), 1)
            self.assertEqual(server.drain(15), 0)

    def test_idle(self):
        with system.Server("smollm2", num_ranks=3, arguments=["-pp", "3"]) as server:
            server.wait_ready()
            self.assertEqual(server.drain(15), 0)
            self.assertEqual(server.processes(), {})


if __name__ == "__main__":
    unittest.main(verbosity=2)

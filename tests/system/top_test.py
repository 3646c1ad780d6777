#!/usr/bin/env python3
"""`echelon top` beside a server of two stages: what it prints follows from the server's metrics; mistakes and servers
that are not there are said."""
import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")
NUM_STREAMS = 4


def top(*arguments, environment=None):
    return subprocess.run([BINARY, "top", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **(environment or {})})


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Top(unittest.TestCase):
    def test_two_stages(self):
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2"]) as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            # Ceilings are measured while there is nothing to do.
            measured = "\nechelon_rank_ceiling_bytes_per_second{"
            system.wait_until(lambda: server.get("/metrics").body.decode().count(measured) == 2, 30,
                              "the ranks have measured their ceilings")
            body = {"model": system.MODEL_NAME, "prompt": "Once upon a time", "max_tokens": 1024, "ignore_eos": True}
            with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
                answers = [pool.submit(server.post, "/v1/completions", body) for _ in range(NUM_STREAMS)]
                system.wait_until(lambda: server.metric("echelon_stage_busy_seconds_total") > 0, 30, "ranks report")
                # As if a launcher had started it: starting MPI would end it.
                launched = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}
                done = top(url, "--once", environment=launched)
                for answer in answers:
                    self.assertEqual(answer.result(120).status, 200)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            lines = done.stdout.splitlines()
            self.assertEqual(lines[0], f"{system.MODEL_NAME}  dp 1 x pp 2 x tp 1, 2 ranks on 1 host")
            self.assertRegex(lines[1], r"tokens/s: [\d.]+ in, [1-9]\d* out ")
            for stage in (0, 1):
                row = lines[6 + stage]
                self.assertRegex(row, rf"^    {stage}    0    {stage} \S+ +#+[xaspb. ]* +\d+ % +\d+ % +\d+ %( \*)?$")
            self.assertEqual(sum(line.endswith(" *") for line in lines[6:8]), 1)
            self.assertRegex(done.stdout, r"micro-batches \d+ to \d+: [\d.]+ ms, ")
            for stage in (0, 1):
                self.assertRegex(done.stdout, rf"(?m)^stage {stage}   [\d.]*\d[\d.]*$")
            self.assertNotIn("\x1b", done.stdout)
            self.check_sums(server)
            self.check_watching(url)

    def check_sums(self, server):
        """Every rank's time is divided among what it did; the whole head belongs to the last stage."""
        self.assertGreater(server.metric("echelon_plan_bytes_total"), 0)
        text = server.get("/metrics").body.decode()
        for rank in (0, 1):
            values = {name: float(value) for name, value in
                      re.findall(rf'^echelon_stage_(\w+)_total{{[^}}]*rank="{rank}"[^}}]*}} (\S+)', text, re.M)}
            self.assertGreater(values["busy_seconds"], 0)
            self.assertLessEqual(values["busy_seconds"], values["active_seconds"] * 1.5)
            self.assertEqual(values["sampling_seconds"] > 0, rank == 1)
        trace = server.get("/debug/pipeline").json()["micro_batches"]
        self.assertEqual([batch["number"] for batch in trace],
                         list(range(trace[0]["number"], trace[0]["number"] + len(trace))))
        for batch in trace:
            self.assertEqual(len(batch["stages"]), 2)

    def check_watching(self, url):
        """Without a terminal one picture after the other, until a signal ends it."""
        watching = subprocess.Popen([BINARY, "top", url, "--interval", "1"], stdout=subprocess.PIPE, text=True)
        try:
            self.assertTrue(watching.stdout.readline().startswith(system.MODEL_NAME))
            watching.send_signal(signal.SIGINT)
            rest = watching.communicate(timeout=30)[0]
        finally:
            watching.kill()
        self.assertEqual(watching.returncode, 0)
        self.assertNotIn("\x1b", rest)

    def test_no_server(self):
        port = free_port()
        done = top(f"http://127.0.0.1:{port}", "--once")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(f"http://127.0.0.1:{port}, /metrics: Connection refused", done.stderr)
        watching = subprocess.Popen([BINARY, "top", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
        try:
            self.assertIn("Connection refused", watching.stdout.readline())
            self.assertIn("Asking again", watching.stdout.readline())
            watching.send_signal(signal.SIGTERM)
            watching.communicate(timeout=30)
        finally:
            watching.kill()
        self.assertEqual(watching.returncode, 0)

    def test_mistakes(self):
        for arguments, words in (
            ([], "URL is missing"),
            (["https://127.0.0.1:1"], "https is not supported"),
            (["127.0.0.1:1", "--interval", "never"], "--interval"),
            (["127.0.0.1:1", "--onc"], "did you mean --once?"),
        ):
            done = top(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()

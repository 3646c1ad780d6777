#!/usr/bin/env python3
"""`echelon bench` against a server: its tokens are those that the server counts, its figures fit together, what fails is said."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")


def bench(url, *arguments):
    return subprocess.run([BINARY, "bench", url, *map(str, arguments)], capture_output=True, text=True, timeout=120)


class Bench(unittest.TestCase):
    def test_loads(self):
        holder = tempfile.TemporaryDirectory(prefix="echelon-bench-")
        self.addCleanup(holder.cleanup)
        folder = pathlib.Path(holder.name)
        with system.Server("smollm2", num_ranks=2, arguments=["-pp", "2", "--max-model-len", "1K"], api_key="sk-bench") as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            common = ["--api-key", "sk-bench", "--prompt", 40, "--output", 12, "--requests", 6]
            done = bench(url, *common, "--sweep-concurrency", "1,3", "--json", folder / "a.json", "--svg", folder / "a.svg",
                         "--goal-ttft-ms", 100000)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(len(done.stdout.splitlines()), 5, done.stdout)
            self.assertIn("<polyline", (folder / "a.svg").read_text())
            rows = json.loads((folder / "a.json").read_text())
            self.assertEqual([row["max_concurrency"] for row in rows], [1, 3])
            for row in rows:
                self.assertEqual((row["completed"], row["failed"], row["model_id"]), (6, 0, system.MODEL_NAME))
                self.assertEqual((row["total_input_tokens"], row["total_output_tokens"]), (6 * 40, 6 * 12))
                self.assertAlmostEqual(row["output_throughput"], 6 * 12 / row["duration"])
                self.assertEqual(row["request_goodput"], row["request_throughput"])
                self.assertGreater(row["median_ttft_ms"], 0)
                self.assertLessEqual(row["mean_ttft_ms"] + 11 * row["mean_tpot_ms"], 1.001 * row["mean_e2el_ms"])
                self.assertLessEqual(row["median_e2el_ms"], 1000 * row["duration"])
            self.assertEqual(server.metric("vllm:generation_tokens_total"), 2 * 6 * 12)
            self.assertEqual(server.metric("vllm:prefix_cache_hits_total"), 0, "no two prompts are alike")

            open_loop = bench(url, *common, "--sweep-rate", 20, "--json", folder / "b.json")
            self.assertEqual(open_loop.returncode, 0, open_loop.stderr)
            row = json.loads((folder / "b.json").read_text())
            self.assertEqual((row["request_rate"], row["completed"]), (20, 6))

            refused = bench(url, *common[:2], "--prompt", 2000, "--requests", 2)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("maximum context length", refused.stderr)
            self.assertEqual(bench(url, "--api-key", "wrong").returncode, 2)
            self.assertEqual(server.drain(), 0)
        gone = bench(url)
        self.assertEqual(gone.returncode, 2)
        self.assertIn("Connection refused", gone.stderr)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`echelon plan` says what a server of the same options does; and a server without a layout takes one that fits."""
import json
import os
import subprocess
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")
# On two ranks tp 2 needs 60 MiB of KV cache a rank for one sequence, pp 2 with its 19 and 11 layers 57.
NARROW = ["--max-model-len", "4096", "--kv-cache-memory", "61m"]
FIGURES = ["--memory-bandwidth", "50g", "--flops", "1t"]


def plan(arguments, environment=None):
    command = [BINARY, "plan", system.model_path("smollm2"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})})


class Plan(unittest.TestCase):
    def test_a_server_takes_the_layout_that_fits(self):
        planned = json.loads(plan(["-np", "2", "--json", *FIGURES, *NARROW]).stdout)
        fits = {(one["tp"], one["pp"], one["dp"]): one["fits"] for one in planned["layouts"]}
        self.assertEqual(fits, {(2, 1, 1): False, (1, 2, 1): True, (1, 1, 2): False})
        self.assertEqual(planned["served_by_default"], {"tp": 1, "pp": 2, "dp": 1})
        with system.Server("smollm2", num_ranks=2, arguments=NARROW) as server:
            server.wait_ready()
            self.assertIn("dp 1 x pp 2 x tp 1", server.log())
            self.assertIn(f"KV cache: {planned['layouts'][0]['kv_tokens']} tokens", server.log())

    def test_a_server_keeps_the_usual_layout_where_it_fits(self):
        planned = json.loads(plan(["-np", "2", "--json", *FIGURES, "--max-model-len", "1024"]).stdout)
        self.assertEqual(planned["served_by_default"], {"tp": 2, "pp": 1, "dp": 1})
        with system.Server("smollm2", num_ranks=2, arguments=["--max-model-len", "1024"]) as server:
            server.wait_ready()
            self.assertIn("dp 1 x pp 1 x tp 2", server.log())

    def test_what_it_prints_can_be_started(self):
        done = plan(["-pp", "2", *FIGURES, "--max-model-len", "1K", "--no-enable-prefix-caching"])
        self.assertEqual(done.returncode, 0, done.stderr)
        line = next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith("launch/run"))
        self.assertTrue(line.endswith("-tp 1 -pp 2 -dp 1 --max-model-len 1024 --no-enable-prefix-caching"), line)
        *_, arguments = line.partition(" -- serve ")
        with system.Server("smollm2", num_ranks=2, arguments=arguments.split()[1:]) as server:
            server.wait_ready()

    def test_it_is_no_rank(self):
        """Variables of a launcher that is not there would end a process that starts MPI."""
        launched = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1", "SLURM_PROCID": "1"}
        done = plan(FIGURES, launched)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("tp 1 x pp 1 x dp 1", done.stdout)

    def test_mistakes(self):
        for arguments, code, words in (
            (["--device", "h1000"], 2, ["--device", "h100", "cpu"]),
            (["--promt", "5"], 2, ["unknown option --promt", "did you mean --prompt?", "echelon plan --help"]),
            (["--memory", "lots"], 2, ["--memory", "'lots' is not a size in bytes"]),
            (["--cost-per-gpu-hour", "free"], 2, ["--cost-per-gpu-hour", "'free' is not a number"]),
            (["-np", "6", "-tp", "4"], 2, ["-tp 4", "6 ranks"]),
            (["--prompt", "8K", "--output", "1"], 2, ["--prompt 8192", "8193 tokens", "8192"]),
            (["--model", "/nowhere/x.gguf"], 1, ["/nowhere/x.gguf: no such file"]),
        ):
            done = plan(arguments)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            for word in words:
                self.assertIn(word, done.stderr)
        nothing_fits = plan([*FIGURES, "--memory", "64M"])
        self.assertEqual(nothing_fits.returncode, 1)
        self.assertIn("nothing fits", nothing_fits.stdout)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""`echelon perplexity` on the license's text: the figure of transformers, the same bits on every layout, mistakes that are named."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")
TEXT = system.ROOT / "LICENSE"
WINDOW, NUM_TOKENS = 256, 1016
# By transformers 5.24 in float32, over the folder f32 of tests/golden/make_hugging_face_folders: windows of 256 tokens, of each the
# tokens 129 to 255. Tokens by `tokenizers` from the folder's tokenizer.json: GPT2Tokenizer of transformers 5 splits digits in another
# way than that says.
TRANSFORMERS = 17.734753060223944


class Perplexity(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="echelon-perplexity-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def figures(self, *arguments, num_ranks=1):
        result = self.folder / "result.json"
        command = ["perplexity", system.model_path("smollm2"), "--text", TEXT, "--window", WINDOW, "--threads", 1, "--json", result]
        with system.Job([*command, *arguments], num_ranks) as job:
            self.assertEqual(job.wait_exit(240), 0, job.log())
            self.assertRegex(job.log(), rf"perplexity [\d.]+ \+- [\d.]+, [\d.]+ bits per byte: {NUM_TOKENS} tokens in 8 windows of 256, ")
        figures = json.loads(result.read_text())
        self.assertGreater(figures.pop("seconds"), 0)
        return figures

    def test_figures(self):
        exact = self.figures("--compute", "f32", "-pp", 2, num_ranks=2)
        self.assertEqual(exact["tokens"], NUM_TOKENS)
        self.assertAlmostEqual(exact["perplexity"], TRANSFORMERS, delta=1e-6 * TRANSFORMERS)
        self.assertTrue(0.5 < exact["bits_per_byte"] < 2, exact)
        int8 = self.figures()
        self.assertAlmostEqual(int8["perplexity"], TRANSFORMERS, delta=0.03 * TRANSFORMERS)
        self.assertEqual(int8, self.figures("-tp", 3, num_ranks=3), "the same bits on every layout")

    def test_mistakes_are_named(self):
        model = system.model_path("smollm2")
        for arguments, message in ((["perplexity"], "MODEL is missing"), (["perplexity", model], "FILE is missing")):
            done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)
        short = self.folder / "short"
        short.write_text("hello")
        for text, message in ((short, "less than a --window of 512"), (self.folder / "none", "cannot be read")):
            with system.Job(["perplexity", model, "--text", text]) as job:
                self.assertNotEqual(job.wait_exit(60), 0)
                self.assertIn(message, job.log())

    def test_a_drain_ends_it(self):
        with system.Job(["perplexity", system.model_path("smollm2"), "--text", TEXT, "--window", 8, "--max-num-seqs", 1, "--threads", 1]) as job:
            system.wait_until(lambda: " windows\n" in job.log(), 60, "it has begun")  # of 276
            job.signal_rank(0, signal.SIGUSR1)
            self.assertEqual(job.wait_exit(60), 1, job.log())


if __name__ == "__main__":
    unittest.main()

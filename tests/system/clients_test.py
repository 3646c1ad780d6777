#!/usr/bin/env python3
"""Other people's clients against a real server: tests/clients. `--all`: those that are large, in an environment of their own. `--schema`: schemathesis,
thousands of requests.

usage: clients_test.py [--all | --schema]
"""
import subprocess
import sys
import tempfile
import unittest

import server as system

API_KEY = "sk-system-test"


def environment(*which):
    """The python of an environment; made when it is missing."""
    made = subprocess.run([system.ROOT / "tests/python_environment", *which], check=True, capture_output=True, text=True)
    return made.stdout.strip()


class Case(unittest.TestCase):
    def run_clients(self, python, clients, server, timeout_s):
        """clients: (script, its arguments but --model)."""
        for script, arguments in clients:
            with self.subTest(script):
                done = subprocess.run([python, "-B", system.ROOT / "tests/clients" / script, "--model", system.MODEL_NAME,
                                       *arguments], timeout=timeout_s, check=False)
                self.assertEqual(done.returncode, 0)
        self.assertEqual(server.drain(), 0)


class Clients(Case):
    def test_clients(self):
        python = environment()
        holder = tempfile.TemporaryDirectory(prefix="echelon-clients-")
        self.addCleanup(holder.cleanup)
        arguments = ["-pp", "2", "--max-model-len", "2K", "--batch-dir", holder.name]
        with system.Server("smollm2", num_ranks=2, arguments=arguments, api_key=API_KEY) as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            key = ["--api-key", API_KEY]
            self.run_clients(python, [("openai_client.py", ["--base-url", url + "/v1", *key]),
                                      ("anthropic_client.py", ["--base-url", url, *key]),
                                      ("wire_formats.py", ["--base-url", url + "/v1", *key])], server, timeout_s=300)


class Schema(Case):
    """Requests made of /openapi.json; prompts and answers are short, so that the longest takes a second."""
    extent = []

    def test_schema(self):
        holder = tempfile.TemporaryDirectory(prefix="echelon-schema-")
        self.addCleanup(holder.cleanup)
        arguments = ["--max-model-len", "128", "--batch-dir", holder.name]
        with system.Server("smollm2", arguments=arguments, api_key=API_KEY) as server:
            server.wait_ready()
            self.run_clients(environment(), [("schemathesis_client.py", [
                "--base-url", f"http://127.0.0.1:{server.port}", "--api-key", API_KEY, *self.extent])], server, timeout_s=1500)


class WholeSchema(Schema):
    extent = ["--phases", "coverage,fuzzing", "--examples", "60", "--at-least", "5000"]


class LargeClients(Case):
    @classmethod
    def setUpClass(cls):
        cls.python = environment("clients")
        cls.weights = system.ROOT / "build/release/hugging_face"  # where ctest has them
        subprocess.run([system.ROOT / "tests/golden/make_hugging_face_folders", cls.weights], check=True)

    def test_with_a_key(self):
        with system.Server("smollm2", num_ranks=2, arguments=["--max-model-len", "2K"], api_key=API_KEY) as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            key, tokenizer = ["--api-key", API_KEY], ["--tokenizer", self.weights / "f32"]
            self.run_clients(self.python, [("litellm_client.py", ["--base-url", url + "/v1", *key]),
                                           ("langchain_client.py", ["--base-url", url + "/v1", *key]),
                                           ("guidellm_client.py", ["--base-url", url, *tokenizer, *key]),
                                           ("aiperf_client.py", ["--base-url", url, *tokenizer, *key])], server, timeout_s=900)

    def test_scores_without_a_key(self):
        arguments = ["--compute", "f32", "--max-model-len", "2K"]
        with system.Server("smollm2", num_ranks=2, arguments=arguments) as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}/v1"
            self.run_clients(self.python, [("lm_eval_client.py", ["--base-url", url])], server, timeout_s=900)


if __name__ == "__main__":
    case = {"--all": "LargeClients", "--schema": "WholeSchema"}.get(sys.argv[-1])
    if case:
        sys.argv.pop()
    unittest.main(defaultTest=case or ["Clients", "Schema"], verbosity=2)

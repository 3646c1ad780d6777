#!/usr/bin/env python3
"""The official OpenAI client against a real server: tests/clients/openai_client.py in tests/python_environment's."""
import subprocess
import unittest

import server as system

API_KEY = "sk-system-test"


class OpenAiClient(unittest.TestCase):
    def test_client(self):
        made = subprocess.run([system.ROOT / "tests/python_environment"], check=True, capture_output=True, text=True)
        python = made.stdout.strip()
        arguments = ["-pp", "2", "--max-model-len", "2K"]
        with system.Server("smollm2", num_ranks=2, arguments=arguments, api_key=API_KEY) as server:
            server.wait_ready()
            client = subprocess.run(
                [python, system.ROOT / "tests/clients/openai_client.py", "--base-url",
                 f"http://127.0.0.1:{server.port}/v1", "--api-key", API_KEY, "--model", system.MODEL_NAME],
                timeout=300, check=False)
            self.assertEqual(client.returncode, 0)
            self.assertEqual(server.drain(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

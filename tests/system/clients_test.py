#!/usr/bin/env python3
"""Official clients against a real server: tests/clients in tests/python_environment's Python."""
import subprocess
import tempfile
import unittest

import server as system

API_KEY = "sk-system-test"


class Clients(unittest.TestCase):
    def test_clients(self):
        made = subprocess.run([system.ROOT / "tests/python_environment"], check=True, capture_output=True, text=True)
        python = made.stdout.strip()
        holder = tempfile.TemporaryDirectory(prefix="echelon-clients-")
        self.addCleanup(holder.cleanup)
        arguments = ["-pp", "2", "--max-model-len", "2K", "--batch-dir", holder.name]
        with system.Server("smollm2", num_ranks=2, arguments=arguments, api_key=API_KEY) as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            for client, base_url in (("openai", url + "/v1"), ("anthropic", url)):
                with self.subTest(client):
                    done = subprocess.run(
                        [python, system.ROOT / f"tests/clients/{client}_client.py", "--base-url", base_url, "--api-key",
                         API_KEY, "--model", system.MODEL_NAME],
                        timeout=300, check=False)
                    self.assertEqual(done.returncode, 0)
            self.assertEqual(server.drain(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

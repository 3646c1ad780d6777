#!/usr/bin/env python3
"""`echelon chat` through a pipe: answers are the server's, the conversation is kept, mistakes are said."""
import os
import subprocess
import unittest

import server as system

BINARY = os.environ.get("ECHELON_BINARY") or str(system.ROOT / "build/release/echelon")


def chat(url, lines, *arguments):
    return subprocess.run([BINARY, "chat", url, *arguments], input="".join(line + "\n" for line in lines), capture_output=True,
                          text=True, timeout=120)


class Chat(unittest.TestCase):
    def test_conversation(self):
        with system.Server("smollm2", api_key="sk-chat") as server:
            server.wait_ready()
            url = f"http://127.0.0.1:{server.port}"
            settings = ["--temperature", "0", "--max-tokens", "12", "--system", "Be brief.", "--api-key", "sk-chat"]
            messages = [{"role": "system", "content": "Be brief."}]
            expected = ""
            for line in ("Name three colours.", "And\nthree more?"):
                messages.append({"role": "user", "content": line})
                answer = server.post("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 12})
                messages.append(answer.json()["choices"][0]["message"])
                expected += messages[-1]["content"] + "\n"
            done = chat(url, ["Name three colours.", "And\\", "three more?", "/quit", "not asked"], *settings)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, expected, ""))
            again = chat(url, ["Name three colours.", "/clear", "Name three colours."], *settings)
            first, second = again.stdout[:len(again.stdout) // 2], again.stdout[len(again.stdout) // 2:]
            self.assertEqual(first, second, "/clear forgets")

            refused = chat(url, ["hello"], "--api-key", "wrong")
            self.assertEqual((refused.returncode, refused.stdout), (2, ""))
            self.assertIn("Incorrect API key", refused.stderr)
            too_long = chat(url, ["hello"], "--api-key", "sk-chat", "--max-tokens", "100000")
            self.assertIn("maximum context length", too_long.stderr)
            self.assertEqual(server.drain(), 0)
        gone = chat(url, ["hello"])
        self.assertEqual(gone.returncode, 2)
        self.assertIn("Connection refused", gone.stderr)


if __name__ == "__main__":
    unittest.main()

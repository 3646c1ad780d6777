#!/usr/bin/env python3
"""Batches outlive their process: a server that is killed in the middle of one, and `echelon batch` that is killed, go on
and end with what an undisturbed run has, each request once."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import server as system

NUM_REQUESTS = 40
TEXTS = ["The weather in the mountains", "def fibonacci(n):", "Dear Sir or Madam,", "The capital of France is"]


def request_of(index):
    """A line: chats and completions, greedy and seeded, some with log-probabilities."""
    body = {"model": system.MODEL_NAME, "max_tokens": 20 + index % 7, "temperature": 0 if index % 2 else 0.9, "seed": index}
    if index % 4 == 3:
        body |= {"prompt": f"{TEXTS[index % 3]} {index}", "logprobs": 3, "prompt_logprobs": 2}
        url = "/v1/completions"
    else:
        body |= {"messages": [{"role": "user", "content": f"{TEXTS[index % 4]} {index}"}]}
        url = "/v1/chat/completions"
        if index % 4 == 1:
            body |= {"logprobs": True, "top_logprobs": 5, "prompt_logprobs": 1}
    return {"custom_id": f"request-{index}", "method": "POST", "url": url, "body": body}


def lines_of(requests):
    return "".join(json.dumps(request) + "\n" for request in requests)


def answers_of(text):
    """What the lines of an output say, by custom_id; without what is drawn for each answer."""
    answers = {}
    for line in text.splitlines():
        line = json.loads(line)
        if line["custom_id"] in answers:
            raise AssertionError(f"{line['custom_id']} is there twice")
        body = {name: value for name, value in line["response"]["body"].items() if name not in ("id", "created")}
        body.get("usage", {}).pop("prompt_tokens_details", None)  # what the cache had
        answers[line["custom_id"]] = (line["response"]["status_code"], body)
    return answers


class Batch(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="echelon-batch-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    # --- the server ---

    def upload(self, server, text):
        body = ("--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: "
                f"form-data; name=\"file\"; filename=\"f\"\r\n\r\n{text}\r\n--b--\r\n")
        done = subprocess.run(["curl", "-sf", "-m", "60", "-H", "Content-Type: multipart/form-data; boundary=b",
                               "--data-binary", "@-", f"http://127.0.0.1:{server.port}/v1/files"],
                              input=body.encode(), capture_output=True, check=True)
        return json.loads(done.stdout)["id"]

    def start_batch(self, server, text):
        created = server.post("/v1/batches", {"input_file_id": self.upload(server, text), "completion_window": "24h",
                                              "endpoint": "/v1/chat/completions"})
        self.assertEqual(created.status, 200, created.body)
        return created.json()["id"]

    def counts(self, server, batch):
        return server.get(f"/v1/batches/{batch}").json()["request_counts"]

    def output_of(self, server, batch):
        def ended():
            found = server.get(f"/v1/batches/{batch}").json()
            return found if found["status"] not in ("validating", "in_progress", "finalizing") else None
        found = system.wait_until(ended, 300, "the batch has ended")
        self.assertEqual(found["status"], "completed", found)
        self.assertIsNone(found["error_file_id"])
        return server.get(f"/v1/files/{found['output_file_id']}/content").body.decode()

    def test_a_killed_server_goes_on(self):
        text = lines_of(request for request in map(request_of, range(NUM_REQUESTS)) if "messages" in request["body"])
        num = len(text.splitlines())
        arguments = ["--batch-dir", self.folder / "undisturbed", "--threads", 1]
        with system.Server(arguments=arguments) as server:
            server.wait_ready()
            undisturbed = self.output_of(server, self.start_batch(server, text))
            self.assertEqual(server.drain(), 0)
        arguments = ["--batch-dir", self.folder / "killed", "--threads", 1, "--batch-running", 4]
        batch, done = None, 0

        def some_are_done():
            count = self.counts(server, batch)["completed"]
            return count if count >= done + 3 else None

        for _ in range(3):
            with system.Server(arguments=arguments) as server:
                server.wait_ready()
                batch = batch or self.start_batch(server, text)
                done = system.wait_until(some_are_done, 120, "some are done")
                server.signal_rank(0, signal.SIGKILL)
                server.wait_exit(30)
        self.assertLess(done, num)
        with system.Server(arguments=arguments) as server:
            server.wait_ready()
            output = self.output_of(server, batch)
            self.assertLessEqual(server.metric("vllm:request_success_total"), num - done, "no answer is made twice")
            self.assertEqual(server.drain(), 0)
        self.assertEqual([json.loads(line)["custom_id"] for line in output.splitlines()],
                         [json.loads(line)["custom_id"] for line in text.splitlines()], "in the order of the input")
        self.assertEqual(answers_of(output), answers_of(undisturbed))

    # --- echelon batch ---

    def batch_command(self, output, *arguments):
        return ["batch", self.folder / "in.jsonl", "-o", output, "--model", system.model_path("smollm2"),
                "--served-model-name", system.MODEL_NAME, "--threads", 1, *arguments]

    def run_to_end(self, output, *arguments, num_ranks=1):
        with system.Job(self.batch_command(output, *arguments), num_ranks) as job:
            code = job.wait_exit(300)
            return code, job.log()

    def test_a_killed_command_goes_on(self):
        requests = [*map(request_of, range(NUM_REQUESTS)),
                    {"custom_id": "bad", "method": "POST", "url": "/v1/completions", "body": {"prompt": 5.5}}]
        (self.folder / "in.jsonl").write_text(lines_of(requests))
        whole, cut = self.folder / "whole.jsonl", self.folder / "cut.jsonl"
        code, log = self.run_to_end(whole)
        self.assertEqual(code, 0, log)
        self.assertRegex(log, rf"{len(requests)} of {len(requests)} answered, 1 failed; .* \d+ tokens/s in, \d+ out")
        undisturbed = answers_of(whole.read_text())
        self.assertEqual(set(undisturbed), {request["custom_id"] for request in requests})
        self.assertEqual(undisturbed["bad"][0], 400)
        self.check_logprobs(undisturbed)

        num_lines = 0
        for kill in range(3):
            with system.Job(self.batch_command(cut, "--max-num-seqs", 4, "-pp", 2, "--no-repair"), 2) as job:
                system.wait_until(lambda: cut.exists() and cut.read_bytes().count(b"\n") >= num_lines + 3, 120, "some lines")
                job.signal_rank(kill % 2, signal.SIGKILL)
                self.assertNotEqual(job.wait_exit(60), 0)
            num_lines = cut.read_bytes().count(b"\n")
            self.assertLess(num_lines, len(requests))
            if kill == 0:  # as a process leaves it that is killed while it writes
                with cut.open("ab") as file:
                    file.write(b'{"id":"batch_req_12","custom_id":"request-')
        before = cut.read_text().splitlines()
        with system.Job(self.batch_command(cut, "--max-num-seqs", 4), 1) as job:  # a drain is no loss, either
            system.wait_until(lambda: cut.read_bytes().count(b"\n") >= num_lines + 2, 120, "some lines")
            job.signal_rank(0, signal.SIGUSR1)
            self.assertEqual(job.wait_exit(60), 1, job.log())
        code, log = self.run_to_end(cut)
        self.assertEqual(code, 0, log)
        self.assertEqual(cut.read_text().splitlines()[:num_lines], before[:num_lines], "nothing is written again")
        self.assertEqual(answers_of(cut.read_text()), undisturbed)
        size = cut.stat().st_size
        code, log = self.run_to_end(cut)
        self.assertEqual((code, cut.stat().st_size), (0, size), "there is nothing left to do")

    def check_logprobs(self, answers):
        """What distillation needs: the likeliest tokens of the prompt and of the answer."""
        for index in range(NUM_REQUESTS):
            body = answers[f"request-{index}"][1]
            choice = body["choices"][0]
            if index % 4 == 1:
                content = choice["logprobs"]["content"]
                self.assertTrue(content and all(len(token["top_logprobs"]) == 5 for token in content))
                self.assertGreaterEqual(len(body["prompt_logprobs"]), body["usage"]["prompt_tokens"])
            elif index % 4 == 3:
                self.assertTrue(all(3 <= len(top) <= 4 for top in choice["logprobs"]["top_logprobs"]))
                self.assertEqual(len(choice["prompt_logprobs"]), body["usage"]["prompt_tokens"])

    def test_mistakes_are_named(self):
        good = lines_of([request_of(0)])
        source = self.folder / "in.jsonl"
        output = self.folder / "out.jsonl"
        source.write_text(good + "{}\n")
        code, log = self.run_to_end(output)
        self.assertNotEqual(code, 0)
        self.assertIn(f"{source}: line 2: custom_id is missing", log)
        source.write_text(good)
        output.write_text("something of somebody else")
        code, log = self.run_to_end(output)
        self.assertNotEqual(code, 0)
        self.assertIn(f"{output}: line 1: this is not an answer of a batch", log)
        self.assertEqual(output.read_text(), "something of somebody else")
        binary = os.environ.get("ECHELON_BINARY") or system.ROOT / "build/release/echelon"
        for arguments, message in ((["batch"], "FILE is missing"), (["batch", source], "--output is missing"),
                                   (["batch", source, "-o", output], "--model is missing")):
            done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
"""24 concurrent streams with random aborts on 1, 2 and 3 stages: every stream that survives is, bit for bit, the same
request alone; afterwards all KV blocks are free and no slot is in use."""
import concurrent.futures
import random
import unittest

import server as system

NUM_STREAMS = 24
NUM_ABORTED = 8
NUM_TOKENS = 32
TEXTS = ["The weather in the mountains", "def fibonacci(n):", "Dear Sir or Madam,", "The capital of France is",
         "1, 2, 3, 5, 8,", "In the beginning there was a machine that"]


def request_of(index):
    """Long and short prompts, some with equal beginnings; greedy and seeded."""
    sampling = {"temperature": 0} if index % 2 else {"temperature": 0.8, "top_p": 0.9, "seed": index}
    prompt = TEXTS[index % len(TEXTS)] * (1 + index % 5) + f" {index}"
    return {"model": system.MODEL_NAME, "prompt": prompt, "max_tokens": NUM_TOKENS, "logprobs": 2,
            "stream_options": {"include_usage": True}, **sampling}


def run_stream(server, index, num_chunks=None):
    """Everything that the stream said; None when it left after num_chunks."""
    stream = server.stream("/v1/completions", request_of(index), timeout_s=300)
    if stream.status != 200:
        raise AssertionError(f"stream {index}: status {stream.status}: {stream.response.read()!r}")
    said = {"text": "", "logprobs": [], "finish": [], "usage": None}
    for count, chunk in enumerate(stream, 1):
        for choice in chunk["choices"]:
            said["text"] += choice["text"]
            if choice.get("logprobs"):
                logprobs = choice["logprobs"]
                said["logprobs"].append((logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]))
            if choice.get("finish_reason"):
                said["finish"].append(choice["finish_reason"])
        if chunk.get("usage"):
            said["usage"] = (chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"])
        if count == num_chunks:
            stream.close()
            return None
    if not stream.done:
        raise AssertionError(f"stream {index} was cut off after {said['text']!r}")
    return said


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with system.Server("smollm2", arguments=["-pp", "1"]) as server:
            server.wait_ready()
            cls.alone = [run_stream(server, index) for index in range(NUM_STREAMS)]

    def check_streams(self, num_stages, arguments=()):
        chance = random.Random(num_stages)
        leaves_after = dict.fromkeys(range(NUM_STREAMS))
        for index in chance.sample(range(NUM_STREAMS), NUM_ABORTED):
            leaves_after[index] = chance.randrange(1, NUM_TOKENS // 2)
        with system.Server("smollm2", num_ranks=num_stages, arguments=["-pp", num_stages, *arguments]) as server:
            server.wait_ready()
            with concurrent.futures.ThreadPoolExecutor(NUM_STREAMS) as pool:
                streams = [pool.submit(run_stream, server, index, leaves_after[index]) for index in range(NUM_STREAMS)]
                said = [stream.result(300) for stream in streams]
            for index, after in leaves_after.items():
                if after is None:
                    self.assertEqual(said[index], self.alone[index], f"stream {index}")
            for index, stream in enumerate(self.alone):  # the token that stops has no text, but is counted and listed
                num_tokens = sum(len(tokens) for tokens, _, _ in stream["logprobs"])
                self.assertEqual(stream["usage"][1], num_tokens, f"stream {index}")
            system.wait_until(lambda: server.metric("echelon_slots_in_use") == 0, 10, "no slot is in use")
            num_blocks = server.metric("echelon_kv_blocks_total")
            system.wait_until(lambda: server.metric("echelon_kv_blocks_free") == num_blocks, 10, "all blocks are free")
            self.assertGreater(num_blocks, 0)
            self.assertEqual(server.drain(), 0)

    def test_one_stage(self):
        self.check_streams(1)

    def test_two_stages(self):
        self.check_streams(2)

    def test_three_stages_with_few_blocks(self):
        self.check_streams(3, ["--num-kv-blocks", "40", "--max-num-batched-tokens", "64", "--max-model-len", "512"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

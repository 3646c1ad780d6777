"""The same bytes on every layout: tokens and log-probabilities of fixed requests, as one digest per model, and their
prompts' embeddings, as another.

usage: digest_test.py [--all] [--write]

Every cell is a real server: tensor x pipeline x data parallel sizes, chunks of 16 and 512, few KV blocks (preemption), one and
two threads, every instruction set this machine has. In every cell the requests run one after another (prefix misses), again
(prefix hits), and 24 at a time. All answers of a model must be equal, within a cell and over the cells, and equal to
tests/golden/digests. --write replaces that file: for a commit that changes the numbers on purpose, and says so.
"""
import concurrent.futures
import hashlib
import json
import pathlib
import random
import sys

import server

DIGESTS = pathlib.Path(__file__).resolve().parents[1] / "golden/digests"
VOCABULARY = {"smollm2": 49152, "gemma3": 262144}
NUM_CONCURRENT = 24
NUM_TOKENS = {"smollm2": 24, "gemma3": 16}

# (ranks, arguments, environment)
SHORT = [
    (1, [], {}),
    (2, ["-tp", 2, "--max-num-batched-tokens", 16], {}),
    (3, ["-pp", 3, "--num-kv-blocks", 14, "--max-model-len", 448], {}),
    (2, ["-dp", 2, "--threads", 2], {}),
    (1, ["--cpu-isa", "avx2"], {}),
]


def all_cells():
    cells = []
    for dp in (1, 2):
        for tp in (1, 2, 3):
            for pp in (1, 2, 3):
                if dp * tp * pp <= 6:
                    cells.append((dp * tp * pp, ["-dp", dp, "-tp", tp, "-pp", pp], {}))
    for chunk in (16, 512):
        cells.append((2, ["-pp", 2, "--max-num-batched-tokens", chunk], {}))
        cells.append((3, ["-tp", 3, "--max-num-batched-tokens", chunk], {}))
    few_blocks = ["--num-kv-blocks", 14, "--max-model-len", 448]
    cells += [(1, few_blocks, {}), (2, ["-pp", 2, *few_blocks], {}), (2, ["-tp", 2, *few_blocks], {})]
    cells += [(1, ["--threads", threads], {}) for threads in (1, 2, 3)]
    cells += [(1, ["--no-enable-prefix-caching"], {})]
    return cells + [(1, ["--cpu-isa", isa], {}) for isa in ("portable", "avx2", "avx512", "vnni", "bf16") if has_isa(isa)]


def has_isa(isa):
    flag = {"portable": "fpu", "avx2": "avx2", "avx512": "avx512bw", "vnni": "avx512_vnni", "bf16": "avx512_bf16"}[isa]
    return flag in pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()


def requests_of(model, num_tokens):
    """Prompts of many lengths, some beginning alike; greedy and seeded, with penalties, echoed, several choices."""
    chance = random.Random(20261122)
    shared = [chance.randrange(300, VOCABULARY[model]) for _ in range(300)]
    requests = []
    for i in range(NUM_CONCURRENT):
        prompt = shared[: chance.choice([0, 0, 31, 32, 33, 64, 200, 290])]
        prompt = prompt + [chance.randrange(300, VOCABULARY[model]) for _ in range(chance.choice([1, 2, 7, 30, 120]))]
        request = {"model": server.MODEL_NAME, "prompt": prompt, "max_tokens": num_tokens, "logprobs": 3, "return_token_ids": True,
                   "ignore_eos": True, "temperature": 0}
        if i % 2:
            request.update(temperature=0.8, seed=1000 + i)
        if i % 4 == 3:
            request.update(top_p=0.9, top_k=40)
        if i % 8 == 5:
            request.update(repetition_penalty=1.2, presence_penalty=0.5, frequency_penalty=0.25)
        if i in (2, 9):
            request.update(echo=True)
        if i == 13:
            request.update(n=3)
        requests.append(request)
    return requests


def embeddings_of(requests):
    """Of some of the prompts above, so that the prefix cache has seen them: both ways to pool, one and several inputs."""
    settings = {"model": server.MODEL_NAME, "encoding_format": "base64", "normalize": False}
    prompts = [request["prompt"] for request in requests]
    return [{**settings, "pooling": pooling, "input": some} for pooling in ("last", "mean") for some in (prompts[0], prompts[3:8])]


def answer(under_test, request):
    """Of a completion, or of what has an input: its vectors."""
    response = under_test.post("/v1/embeddings" if "input" in request else "/v1/completions", request, timeout_s=600)
    if response.status != 200:
        raise AssertionError(f"status {response.status}: {response.body[:500]!r}")
    if "input" in request:
        return json.dumps([one["embedding"] for one in response.json()["data"]])
    choices = sorted(response.json()["choices"], key=lambda choice: choice["index"])
    return json.dumps([[c["text"], c.get("token_ids"), c["logprobs"], c["finish_reason"]] for c in choices], sort_keys=True)


def digest_of(answers):
    return hashlib.sha256("\n".join(answers).encode()).hexdigest()


def run_cell(model, cell, requests):
    """Digests of the completions and of the embeddings, and how often a sequence was preempted."""
    num_ranks, arguments, environment = cell
    num_completions, requests = len(requests), requests + embeddings_of(requests)
    with server.Server(model, num_ranks, arguments, environment) as under_test:
        under_test.wait_ready()
        alone = [answer(under_test, request) for request in requests]
        again = [answer(under_test, request) for request in requests[:6] + requests[num_completions:]]
        # Few blocks are there to meet preemption; whether a round does is a matter of timing.
        for _ in range(8 if "--num-kv-blocks" in arguments else 1):
            with concurrent.futures.ThreadPoolExecutor(NUM_CONCURRENT) as pool:
                together = list(pool.map(lambda request: answer(under_test, request), requests))
            preemptions = under_test.metric("vllm:num_preemptions_total")
            if preemptions > 0:
                break
        if under_test.drain() != 0:
            raise AssertionError("the server did not drain in order")
    firsts = {"a second time": alone[:6] + alone[num_completions:], "24 at a time": alone}
    for what, answers in (("a second time", again), ("24 at a time", together)):
        for i, (first, other) in enumerate(zip(firsts[what], answers, strict=True)):
            if first != other:
                raise AssertionError(f"request {i} has another answer {what}:\n{first[:2000]}\n{other[:2000]}")
    return digest_of(alone[:num_completions]), digest_of(alone[num_completions:]), preemptions


def main():
    long_run = "--all" in sys.argv
    cells = all_cells() if long_run else SHORT
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    failed = 0
    for model in ("smollm2", "gemma3"):
        requests = requests_of(model, NUM_TOKENS[model])
        saw_preemption = False
        for cell in cells:
            name = f"{model} np {cell[0]} {' '.join(map(str, cell[1]))}"
            try:
                digest, vectors, preemptions = run_cell(model, cell, requests)
            except AssertionError as error:
                print(f"FAILED {name}: {error}", flush=True)
                failed += 1
                continue
            saw_preemption |= preemptions > 0
            if "--write" in sys.argv and cell is cells[0]:
                digests.update({model: digest, f"{model} embeddings": vectors})
            good = digest == digests.get(model) and vectors == digests.get(f"{model} embeddings")
            failed += not good
            print(f"{'ok' if good else 'FAILED'} {name}: {digest[:16]}, {vectors[:16]}, {preemptions:.0f} preemptions", flush=True)
        if not saw_preemption:
            print(f"FAILED {model}: no cell met preemption", flush=True)
            failed += 1
    if "--write" in sys.argv:
        DIGESTS.write_text(json.dumps(digests, indent=1) + "\n")
    print(f"{failed} cells failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

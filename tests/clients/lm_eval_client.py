#!/usr/bin/env python3
"""Runs lm-eval's tasks of lm_eval_tasks against a running server and compares with transformers on the same weights: scores must be equal within
half a point, the log-probability of every sample within 0.01, and generated texts to the letter. The server needs `--compute f32`, so that only
the order of additions is left.

Four kinds of tasks (choices, a last word, whole texts, generated answers) go through `local-completions` with the server's own tokenizer, several
requests at a time with several prompts each, then one by one; `local-chat-completions` generates, too. Nothing is fetched.
Exit code 0 when everything holds; otherwise 1 and one line that says what did not.
Usage: lm_eval_client.py --base-url http://127.0.0.1:8000/v1 --model NAME      a server that asks for no key
       lm_eval_client.py --write HUGGING_FACE_FOLDER      makes lm_eval_tasks/transformers.json, from the float32 folder of make_hf_folder.py
"""
import argparse
import importlib.metadata
import json
import logging
import os
import pathlib
import sys
import tempfile

TASK_FOLDER = pathlib.Path(__file__).resolve().parent / "lm_eval_tasks"
ORACLE = TASK_FOLDER / "transformers.json"
GENERATED = "echelon_questions"
TASKS = ["echelon_choices", "echelon_last_word", "echelon_texts", GENERATED]
COMPARED_METRICS = ("acc", "acc_norm", "exact_match", "bits_per_byte")
MAX_SCORE_DIFFERENCE = 0.005
MAX_LOGPROB_DIFFERENCE = 0.01  # of one sample's sum over its tokens, in nats


def check(condition, message):
    if not condition:
        print(f"lm-eval client: {message}", file=sys.stderr)
        sys.exit(1)


def evaluate(model, settings, tasks, **more):
    """{"scores": {"task metric": number}, "answers": {task: what the model gave to each sample}}, as JSON has it."""
    import lm_eval
    from lm_eval.tasks import TaskManager
    manager = TaskManager(include_path=str(TASK_FOLDER), include_defaults=False)
    results = lm_eval.simple_evaluate(model=model, model_args=settings, tasks=tasks, task_manager=manager,
                                      log_samples=True, bootstrap_iters=0, **more)
    scores = {f"{task} {key.partition(',')[0]}": float(value) for task, metrics in results["results"].items()
              for key, value in metrics.items() if key.partition(",")[0] in COMPARED_METRICS}
    answers = {task: [sample["filtered_resps"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
               for task, samples in results["samples"].items()}
    return json.loads(json.dumps({"scores": scores, "answers": answers}))


def compare(ours, theirs, what):
    for name, value in theirs["scores"].items():
        mine = ours["scores"][name]
        print(f"  {what} {name}: {mine:.4f}, transformers {value:.4f}")
        check(abs(mine - value) <= MAX_SCORE_DIFFERENCE, f"{what}: {name} is {mine}, with transformers {value}")
    for task, expected in theirs["answers"].items():
        got = ours["answers"][task]
        check(len(got) == len(expected), f"{what}: {task} has {len(got)} samples, with transformers {len(expected)}")
        if task == GENERATED:
            check(got == expected, f"{what}: {task} is {got}, with transformers {expected}")
            continue
        largest = 0.0
        for sample, (mine, other) in enumerate(zip(got, expected)):
            for (logprob, *greedy), (wanted, *wanted_greedy) in zip(map(listed, mine), map(listed, other), strict=True):
                largest = max(largest, abs(logprob - wanted))
                check(largest <= MAX_LOGPROB_DIFFERENCE and greedy == wanted_greedy,
                      f"{what}: {task} {sample} is {mine}, with transformers {other}")
        print(f"  {what} {task}: log-probabilities of samples differ by {largest:.6f} at most")


def listed(answer):
    """[log-probability, whether greedy], or of a whole text its log-probability alone."""
    return answer if isinstance(answer, list) else [answer]


def check_server(base_url, model):
    oracle = json.loads(ORACLE.read_text())
    settings = {"model": model, "base_url": f"{base_url}/completions", "tokenizer_backend": "remote"}
    at_once = evaluate("local-completions", {**settings, "num_concurrent": 4}, TASKS, batch_size=4)
    compare(at_once, oracle["plain"], "local-completions")
    one_by_one = evaluate("local-completions", settings, ["echelon_last_word", GENERATED], batch_size=1)
    for task, answers in one_by_one["answers"].items():
        check(answers == at_once["answers"][task], f"{task}: one by one gives {answers}, at once {at_once['answers'][task]}")
    settings = {"model": model, "base_url": f"{base_url}/chat/completions", "num_concurrent": 4}
    compare(evaluate("local-chat-completions", settings, [GENERATED], apply_chat_template=True), oracle["chat"],
            "local-chat-completions")


def write_oracle(weights):
    settings = {"pretrained": weights, "dtype": "float32"}
    oracle = {"made by": {name: importlib.metadata.version(name) for name in ("lm_eval", "transformers", "torch")},
              "plain": evaluate("hf", settings, TASKS, device="cpu"),
              "chat": evaluate("hf", settings, [GENERATED], device="cpu", apply_chat_template=True)}
    ORACLE.write_text(json.dumps(oracle, ensure_ascii=False).replace("], [[", "],\n[[") + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url")
    parser.add_argument("--model")
    parser.add_argument("--write", metavar="HUGGING_FACE_FOLDER", type=lambda name: str(pathlib.Path(name).resolve()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="echelon-lm-eval-") as cache:
        os.environ.update(HF_HOME=cache, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
                          TQDM_DISABLE="1")
        os.environ.pop("OPENAI_API_KEY", None)  # without it the client sends an empty Bearer
        os.chdir(TASK_FOLDER)                   # where the tasks' data files are looked for
        logging.disable(logging.WARNING)
        if arguments.write:
            return write_oracle(arguments.write)
        check_server(arguments.base_url, arguments.model)
    print("lm-eval client: scores, log-probabilities and generated texts are those of transformers")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How fast are texts cut into tokens, against Hugging Face's `tokenizers`?

    .venv/bin/python benchmarks/tokenizer.py [--rounds 5] [--megabytes 50] [--model smollm2|gemma3]   (both)

One thread a side, the same documents of about 16 KiB in the same run, the sides in turn, medians of the rates by the
thread's processor time (a shared machine's clock says little). Ours: tokenizer_bench. Theirs: encode_batch_fast, which works
out no offsets, 64 documents a call, TOKENIZERS_PARALLELISM=false, RAYON_NUM_THREADS=1; made of the GGUF's vocabulary as
tests/golden/hugging_face_tokenizer.py says. What the texts are: tests/golden/tokenizer_corpus.py. That the ids are the same
is a test's business: tests/engine/text/exact_ids.py.
"""

import argparse
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from machine import Quiet, ROOT, built, heading, median_and_range, run_program, say, table  # noqa: E402
from servers import model_file  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/golden"))

import hugging_face_tokenizer  # noqa: E402
import tokenizer_corpus  # noqa: E402

AT_ONCE = 64  # documents
ROUND = re.compile(r"^round 1: ([\d.]+) MB/s of processor time, ([\d.]+) by the clock", re.MULTILINE)
HASHING = re.compile(r"hashing them in words of 6 bytes ([\d.]+) MB/s")


def our_rate(model, corpus):
    """MB/s of processor time, and of hashing alone."""
    output = run_program([built("tokenizer_bench"), model, corpus, "--rounds", "1"], timeout_s=300)
    return float(ROUND.search(output)[1]), float(HASHING.search(output)[1])


def their_rate(tokenizer, texts, megabytes):
    begin = time.thread_time()
    for i in range(0, len(texts), AT_ONCE):
        tokenizer.encode_batch_fast(texts[i : i + AT_ONCE], add_special_tokens=False)
    return megabytes / (time.thread_time() - begin)


def measure(name, rounds, corpus, texts, megabytes):
    model = model_file(name)
    tokenizer, ours, theirs, hashing = hugging_face_tokenizer.of_gguf(model), [], [], []
    for i in range(rounds):
        say(f"{name}: round {i + 1}")
        rate, ceiling = our_rate(model, corpus)
        ours.append(rate)
        hashing.append(ceiling)
        theirs.append(their_rate(tokenizer, texts, megabytes))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs))
    return [name, median_and_range(ours), median_and_range(theirs), f"{ratio:.1f}x", median_and_range(hashing)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--model", choices=["smollm2", "gemma3"])
    arguments = parser.parse_args()
    quiet = Quiet()
    quiet.wait()
    documents = tokenizer_corpus.make_documents(arguments.megabytes * 1_000_000)
    texts, megabytes = [document.decode() for document in documents], sum(map(len, documents)) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        corpus = pathlib.Path(folder) / "corpus"
        tokenizer_corpus.write_documents(corpus, documents)
        names = [arguments.model] if arguments.model else ["smollm2", "gemma3"]
        rows = [measure(name, arguments.rounds, corpus, texts, megabytes) for name in names]
    print(heading("Tokenizer"))
    print(f"{len(documents)} documents, {megabytes:.1f} MB; MB/s of one thread's processor time, median (range). {quiet.sentence()}\n")
    columns = ["vocabulary", "ours", f"tokenizers {hugging_face_tokenizer.VERSION}", "ratio", "hashing words of 6 bytes"]
    print(table(columns, rows))


main()

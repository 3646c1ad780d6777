#!/usr/bin/env python3
"""Are our tokens those of Hugging Face's `tokenizers`, on many megabytes of what lies on the machine?

    exact_ids.py TOKENIZER_BENCH [MEGABYTES]      (50)

SmolLM2 (byte-level BPE by rank) and Gemma 3 (SentencePiece by score), both from GGUF; the other side's tokenizers are made of
the same vocabularies (tests/golden/hugging_face_tokenizer.py), the texts by tests/golden/tokenizer_corpus.py.
"""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/golden"))

import hugging_face_tokenizer  # noqa: E402
import tokenizer_corpus  # noqa: E402

AT_ONCE = 64  # documents
TIMEOUT_S = 300


def our_ids(program, model, corpus, folder):
    """Of each document, as bytes of 32-bit numbers."""
    path = folder / "ids"
    subprocess.run([program, model, corpus, "--rounds", "0", "--ids", path], check=True, timeout=TIMEOUT_S,
                   stdout=subprocess.DEVNULL)
    data, at = path.read_bytes(), 0
    while at < len(data):
        (count,) = struct.unpack_from("<I", data, at)
        yield data[at + 4:at + 4 + 4 * count]
        at += 4 + 4 * count


def their_ids(model, documents):
    tokenizer = hugging_face_tokenizer.of_gguf(model)
    for begin in range(0, len(documents), AT_ONCE):
        texts = [document.decode() for document in documents[begin:begin + AT_ONCE]]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            yield struct.pack(f"<{len(encoding.ids)}i", *encoding.ids)


def main():
    program, megabytes = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
    documents, num_different = tokenizer_corpus.make_documents(megabytes * 1_000_000), 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tokenizer_corpus.write_documents(folder / "corpus", documents)
        for model in ("smollm2", "gemma3"):
            path = subprocess.run([ROOT / "launch/fetch-model", model], check=True, stdout=subprocess.PIPE, text=True,
                                  timeout=TIMEOUT_S).stdout.strip()
            pairs = zip(our_ids(program, path, folder / "corpus", folder), their_ids(path, documents), strict=True)
            num_tokens = 0
            for i, (ours, theirs) in enumerate(pairs):
                num_tokens += len(theirs) // 4
                if ours == theirs:
                    continue
                at = next((k for k in range(0, len(theirs), 4) if ours[k:k + 4] != theirs[k:k + 4]), len(theirs))
                print(f"{model}: document {i} differs from its token {at // 4} on: {documents[i][:200]!r}")
                num_different += 1
            print(f"{model}: {len(documents)} documents, {sum(map(len, documents)) / 1e6:.1f} MB, {num_tokens} tokens")
    sys.exit(f"{num_different} documents differ" if num_different else 0)


main()

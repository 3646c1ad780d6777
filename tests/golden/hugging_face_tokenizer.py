"""The tokenizer of PyPI `tokenizers` for the vocabulary of a GGUF file, which has no tokenizer.json: SmolLM2's from its
merges, Gemma's from its scores.

Gemma's merges: every cut of a token into two tokens is a merge, best score first, as transformers makes them of a
SentencePiece model; of one token's cuts the one with the lower ids first. User-defined tokens (runs of spaces and line
breaks, HTML tags) are added tokens that are matched in the text as it is. Control tokens are left out: their text is
ordinary text, as for our encode without parse_special.
"""

import gguf
from tokenizers import AddedToken, Tokenizer, __version__ as VERSION, models, normalizers, pre_tokenizers  # noqa: F401

NORMAL, USER_DEFINED, BYTE = 1, 4, 6  # tokenizer.ggml.token_type
METASPACE = "\u2581"


def read_vocabulary(path):
    fields = gguf.GGUFReader(path).fields
    return {key.removeprefix("tokenizer.ggml."): field.contents() for key, field in fields.items()
            if key.startswith("tokenizer.ggml.")}


def byte_level(vocabulary):
    if vocabulary.get("pre") != "smollm":
        raise ValueError("only SmolLM's pre-tokenizer is written down here")
    ids = {token: i for i, token in enumerate(vocabulary["tokens"])}
    made = Tokenizer(models.BPE(ids, [tuple(merge.split(" ")) for merge in vocabulary["merges"]]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return made


def merges_of(ids, scores):
    """Of [(left, right)], in order of rank."""
    cuts = []
    for token, i in ids.items():
        for at in range(1, len(token)):
            left, right = ids.get(token[:at]), ids.get(token[at:])
            if left is not None and right is not None:
                cuts.append((-scores[i], left, right, token[:at], token[at:]))
    cuts.sort()
    return [cut[3:] for cut in cuts]


def sentencepiece(vocabulary):
    tokens, types = vocabulary["tokens"], vocabulary["token_type"]
    ids = {token: i for i, token in enumerate(tokens)}
    normal = {token: i for i, token in enumerate(tokens) if types[i] == NORMAL}
    made = Tokenizer(models.BPE(ids, merges_of(normal, vocabulary["scores"]), unk_token=tokens[vocabulary["unknown_token_id"]],
                                fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", METASPACE)
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.add_tokens([AddedToken(token, normalized=False, special=False)
                     for i, token in enumerate(tokens) if types[i] == USER_DEFINED])
    return made


def of_gguf(path):
    vocabulary = read_vocabulary(path)
    return byte_level(vocabulary) if vocabulary["model"] == "gpt2" else sentencepiece(vocabulary)

#!/usr/bin/env python3
# Makes tokenizer-hf.json: small tokenizer.json files in the forms of the known families, and what the PyPI package
# `tokenizers` (0.23.3 when the file was made) says about texts. Usage: make_tokenizers.py
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
OTHER = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}{1,2}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
EXTRA = [
    "I\u2019ll say it'S WE'LL 'ſ 'LL'd x'Re", "e\u0301 a\u0328\u0301 \u1100\u1161\u11a8 \u212b \u0344 q\u0323\u0307 \uf900",
    " two  three   spaces\t\ttabs \n \n\n x", "a <s> b</s>c<s><s>", "<s>", " <s> ", "x <pad> y<pad>z", "xsepy sep z sep. _sep",
    "▁under▁score ▁", "1234567 ٣٤٥ ⅣⅤ½²x3", "\r\n\r\n  \r x", "don't — CAN'T… #!?\n/next", "\u00a0\u3000 \u2028x \u0085y",
]


def texts():
    cases = json.loads((HERE / "tokenizer-smollm2.json").read_text())["cases"]
    picked = [c["text"] for c in cases if len(c["text"]) <= 120][:90] + EXTRA
    generator = random.Random(7)
    alphabet = "ab cde's12.,\n\t \r<s>é\u0301中🙂’_-ſK"
    for _ in range(30):
        picked.append("".join(generator.choice(alphabet) for _ in range(generator.randint(1, 60))))
    return picked


CORPUS = ["the quick brown fox jumps over the lazy dog and then the other dogs there", "don't you'll we're it's I've I'm he'd",
          "def main(): return 1234 + 5678 - 1000", "hello hello world worlds   spaces    more", "où été naïve façade",
          "русский текст и ещё текст", "日本語 日本 東京 中文", "a\n\nb\n\n\nc\td\t\te", "!!! ??? ... --- :-) ;;"] * 20


def byte_level(pre, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=480, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                      special_tokens=["<s>", "</s>", "<pad>"]))
    return t


def characters(normalizer=None, pre=None, decoder=None):
    """BPE over characters with byte tokens: trained here on text whose spaces are written as U+2581."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=560, show_progress=False,
                                                            special_tokens=["<unk>", "<s>", "</s>", "<pad>"] + byte_tokens))
    model = json.loads(trained.to_str())["model"]
    t = Tokenizer(models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=True,
                             byte_fallback=True))
    t.add_special_tokens(["<unk>", "<s>", "</s>", "<pad>"])
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder
    return t


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make():
    plain = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made = {
        "gpt2": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "gpt2-prefix": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "smollm": byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                      pre_tokenizers.ByteLevel(add_prefix_space=False)])),
        "llama3": byte_level(split(LLAMA3), ignore_merges=True),
        "qwen2": byte_level(split(QWEN2), normalizers.NFC()),
        "unknown-pattern": byte_level(split(OTHER)),
        "gemma": characters(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                            decoders.Sequence(plain)),
        "llama2": characters(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None,
                             decoders.Sequence(plain + [decoders.Strip(" ", 1, 0)])),
        "mistral": characters(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                              decoders.Sequence(plain + [decoders.Strip(" ", 1, 0)])),
    }
    made["llama3"].post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])])
    made["gemma"].post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>",
        special_tokens=[(text, made["gemma"].token_to_id(text)) for text in ("<s>", "</s>")])
    made["qwen2"].add_tokens([AddedToken("sep", single_word=True, normalized=False)])
    made["unknown-pattern"].add_special_tokens([AddedToken("<pad>", lstrip=True, rstrip=True)])
    return made


def main():
    picked, entries = texts(), []
    for name, t in make().items():
        entry = {"name": name, "tokenizer": json.loads(t.to_str()), "with_special": t.encode("hello").ids,
                 "ids": [], "ids_special": [], "decoded": []}
        for text in picked:
            t.encode_special_tokens = True
            literal = t.encode(text, add_special_tokens=False).ids
            t.encode_special_tokens = False
            parsed = t.encode(text, add_special_tokens=False).ids
            entry["ids"].append(literal)
            entry["ids_special"].append(None if parsed == literal else parsed)
            entry["decoded"].append(t.decode(literal, skip_special_tokens=True))
        entries.append(entry)
    out = json.dumps({"texts": picked, "tokenizers": entries}, ensure_ascii=True, separators=(",", ":"))
    (HERE / "tokenizer-hf.json").write_text(out.replace('{"name"', '\n{"name"') + "\n")


main()

#!/usr/bin/env python3
"""Writes a llama model of 281 million random weights whose matrices truly are Q4_K and Q6_K, for speed alone.

The models of launch/fetch-model have widths that are no multiple of 256, so that their "Q4_K_M" files hold other
types. This one is a smaller TinyLlama with the types that llama.cpp's Q4_K_M chooses: Q4_K, but Q6_K for the output
matrix and for half of the layers' attn_v and ffn_down. Codes are random, scales such that weights have mean 0 and
deviation 1 / sqrt(width), as in a model before its training: logits are finite and mean nothing. The tokenizer is that
of TOKENIZER.gguf.

Usage: make_q4_k_model.py TOKENIZER.gguf MODEL.gguf
"""

import argparse
import pathlib

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE, CONTEXT = 1024, 16, 16, 4, 64, 2816, 4096
BLOCK = 256  # weights
LEAST_SCALE, MOST_SCALE = 32, 63  # of a group of weights in a block
DEVIATION = {4: 4.61, 6: 18.47}  # of codes of 4 and 6 bits that are all alike frequent
Q4_K, Q6_K = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K


def scale_of_blocks(num_blocks, bits, width):
    """d of every block, for a deviation of 1 / sqrt(width)."""
    return np.full((num_blocks, 1), 1 / (width**0.5 * (LEAST_SCALE + MOST_SCALE) / 2 * DEVIATION[bits]))


def half_precision(values):
    return values.astype("<f2").view("u1")


def q4_k(random, num_blocks, width):
    """Blocks of 144 bytes: d, dmin, eight scales and eight minima of 6 bits in 12 bytes, 256 codes of 4 bits. A weight
    is d scale code - dmin minimum; with dmin = 7.5 d and minimum = scale their mean is 0."""
    d = scale_of_blocks(num_blocks, 4, width)
    scale = random.integers(LEAST_SCALE, MOST_SCALE + 1, (num_blocks, 8), dtype="u1")
    low, high = scale[:, :4], scale[:, 4:]
    first = low | (high >> 4 << 6)  # so for the scales and once more for the minima, which are the same numbers
    last = (high & 15) | (high << 4)
    codes = random.integers(0, 256, (num_blocks, BLOCK // 2), dtype="u1")
    return np.hstack([half_precision(d), half_precision(7.5 * d), first, first, last, codes])


def q6_k(random, num_blocks, width):
    """Blocks of 210 bytes: the low 4 and the high 2 bits of 256 codes, sixteen scales of 8 bits, d. A weight is
    d scale (code - 32); scales of both signs, so that the codes' mean of -0.5 cancels."""
    codes = random.integers(0, 256, (num_blocks, BLOCK // 2 + BLOCK // 4), dtype="u1")
    scale = random.integers(LEAST_SCALE, MOST_SCALE + 1, (num_blocks, 16), dtype="i1")
    scale *= random.choice(np.array([-1, 1], "i1"), scale.shape)
    return np.hstack([codes, scale.view("u1"), half_precision(scale_of_blocks(num_blocks, 6, width))])


def takes_more_bits(layer):
    """The layers in which llama.cpp's Q4_K_M has Q6_K."""
    eighth = LAYERS // 8
    return layer < eighth or layer >= 7 * LAYERS // 8 or (layer - eighth) % 3 == 2


def matrices(vocab):
    """(name, rows, width, type) of each."""
    yield "token_embd", vocab, HIDDEN, Q4_K
    for layer in range(LAYERS):
        mixed = Q6_K if takes_more_bits(layer) else Q4_K
        for name, rows, width, kind in (
            ("attn_q", HEADS * HEAD_DIM, HIDDEN, Q4_K),
            ("attn_k", KV_HEADS * HEAD_DIM, HIDDEN, Q4_K),
            ("attn_v", KV_HEADS * HEAD_DIM, HIDDEN, mixed),
            ("attn_output", HIDDEN, HEADS * HEAD_DIM, Q4_K),
            ("ffn_gate", INTERMEDIATE, HIDDEN, Q4_K),
            ("ffn_up", INTERMEDIATE, HIDDEN, Q4_K),
            ("ffn_down", HIDDEN, INTERMEDIATE, mixed),
        ):
            yield f"blk.{layer}.{name}", rows, width, kind
    yield "output", vocab, HIDDEN, Q6_K


def add_metadata(writer, reader, vocab):
    writer.add_name("random llama 281M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocab)
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=element)


def add_tensors(writer, vocab):
    random = np.random.default_rng(1)
    for name, rows, width, kind in matrices(vocab):
        make = q4_k if kind == Q4_K else q6_k
        blocks = make(random, rows * width // BLOCK, width)
        writer.add_tensor(f"{name}.weight", blocks.reshape(rows, -1), raw_dtype=kind)
    norms = ["output_norm"]
    norms += [f"blk.{layer}.{norm}" for layer in range(LAYERS) for norm in ("attn_norm", "ffn_norm")]
    for name in norms:
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, "<f4"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.tokenizer)
    vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    writer = gguf.GGUFWriter(arguments.model, "llama")
    add_metadata(writer, reader, vocab)
    add_tensors(writer, vocab)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()

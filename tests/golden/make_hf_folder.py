#!/usr/bin/env python3
"""From a llama-architecture GGUF file with a byte-level BPE tokenizer (SmolLM2), writes a Hugging Face folder: the same
weights as safetensors, config.json, generation_config.json, tokenizer.json and tokenizer_config.json.

F32 holds exactly what PyPI `gguf` dequantises; BF16 is that rounded to nearest even, so its numbers are near, not equal.
GGUF stores the rows of q and k so that rope turns neighbours (2i, 2i + 1); Hugging Face turns halves (i, i + dim / 2): the
rows go back to that order here.

Usage: make_hf_folder.py MODEL.gguf FOLDER [--dtype bf16|f32] [--shards 3]
"""

import argparse
import json
import pathlib
import re

import gguf
import numpy as np

CONTROL, USER_DEFINED = 3, 4  # tokenizer.ggml.token_type
BLOCK_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Metadata:
    def __init__(self, reader):
        self.fields = reader.fields

    def get(self, key, default=None):
        return self.fields[key].contents() if key in self.fields else default


def hugging_face_name(name):
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if block:
        return f"model.layers.{block[1]}.{BLOCK_NAMES[block[2]]}.weight"
    return TOP_NAMES[name.removesuffix(".weight")] + ".weight"


def halves_order(rows, num_heads):
    """[head, pair, 2] rows, as interleaved rope wants them, to [head, 2, pair]."""
    return rows.reshape(num_heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def tensor_bytes(tensor, dtype, num_heads, num_kv_heads):
    values = gguf.dequantize(tensor.data, tensor.tensor_type)
    if tensor.name.endswith("attn_q.weight"):
        values = halves_order(values, num_heads)
    elif tensor.name.endswith("attn_k.weight"):
        values = halves_order(values, num_kv_heads)
    values = np.ascontiguousarray(values, dtype="<f4")
    if dtype == "F32":
        return values.tobytes()
    return gguf.quantize(values, gguf.GGMLQuantizationType.BF16).tobytes()


def cut_into_shards(tensors, num_shards):
    """Consecutive tensors, about equal in values."""
    total = sum(int(t.n_elements) for t in tensors)
    shards, done = [[] for _ in range(num_shards)], 0
    for tensor in tensors:
        shards[min(num_shards - 1, done * num_shards // total)].append(tensor)
        done += int(tensor.n_elements)
    return [shard for shard in shards if shard]


def write_safetensors(path, tensors, dtype, heads):
    width = {"F32": 4, "BF16": 2}[dtype]
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        end = offset + int(tensor.n_elements) * width
        shape = [int(n) for n in tensor.shape][::-1]
        header[hugging_face_name(tensor.name)] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            out.write(tensor_bytes(tensor, dtype, *heads))
    return offset


def write_weights(folder, reader, dtype, num_shards, heads):
    shards = cut_into_shards(list(reader.tensors), num_shards)
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", shards[0], dtype, heads)
        return
    weight_map, total_size = {}, 0
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        total_size += write_safetensors(folder / name, tensors, dtype, heads)
        weight_map.update({hugging_face_name(t.name): name for t in tensors})
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))})


def shortest(value):
    """A float32 in as few digits as name it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def write_config(folder, metadata, dtype, tied):
    def llama(key, default=None):
        return metadata.get("llama." + key, default)

    def token(name):
        return metadata.get(f"tokenizer.ggml.{name}_token_id")

    width, heads = llama("embedding_length"), llama("attention.head_count")
    ids = {"bos_token_id": token("bos"), "eos_token_id": token("eos"), "pad_token_id": token("padding")}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, **ids,
        "hidden_size": width, "intermediate_size": llama("feed_forward_length"),
        "num_hidden_layers": llama("block_count"), "num_attention_heads": heads,
        "num_key_value_heads": llama("attention.head_count_kv"), "head_dim": llama("rope.dimension_count", width // heads),
        "max_position_embeddings": llama("context_length"), "rms_norm_eps": shortest(llama("attention.layer_norm_rms_epsilon")),
        "rope_theta": shortest(llama("rope.freq_base", 10000.0)), "rope_scaling": None, "tie_word_embeddings": tied,
        "torch_dtype": {"F32": "float32", "BF16": "bfloat16"}[dtype],
        "vocab_size": len(metadata.get("tokenizer.ggml.tokens"))}
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})


def write_tokenizer(folder, metadata):
    if metadata.get("tokenizer.ggml.model") != "gpt2" or metadata.get("tokenizer.ggml.pre") != "smollm":
        raise SystemExit("only SmolLM's byte-level BPE tokenizer can be written")
    tokens = metadata.get("tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type")
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": types[i] == CONTROL} for i in range(len(tokens)) if types[i] in (CONTROL, USER_DEFINED)]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, {**byte_level, "add_prefix_space": False}]},
        "post_processor": None, "decoder": {**byte_level, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": metadata.get("tokenizer.ggml.merges")}})

    def text(name):
        index = metadata.get(f"tokenizer.ggml.{name}_token_id")
        return None if index is None else tokens[index]

    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        "bos_token": text("bos"), "eos_token": text("eos"), "unk_token": text("unknown"), "pad_token": text("padding"),
        "chat_template": metadata.get("tokenizer.chat_template"), "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.get("llama.context_length"), "tokenizer_class": "GPT2Tokenizer"})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.model.is_file():
        raise SystemExit(f"{arguments.model} is missing: run launch/fetch-model first")
    if not 1 <= arguments.shards <= 99:
        raise SystemExit("--shards must be 1 to 99")
    reader = gguf.GGUFReader(arguments.model)
    metadata = Metadata(reader)
    if metadata.get("general.architecture") != "llama":
        raise SystemExit(f"{arguments.model} is not of the llama architecture")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    dtype = arguments.dtype.upper()
    heads = (metadata.get("llama.attention.head_count"), metadata.get("llama.attention.head_count_kv"))
    write_weights(arguments.folder, reader, dtype, arguments.shards, heads)
    write_config(arguments.folder, metadata, dtype, all(t.name != "output.weight" for t in reader.tensors))
    write_tokenizer(arguments.folder, metadata)


if __name__ == "__main__":
    main()

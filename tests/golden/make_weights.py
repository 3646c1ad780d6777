#!/usr/bin/env python3
"""Makes the oracles of the weights room with PyPI `gguf` (0.19): what every GGUF type dequantises to.

Writes, beside this script:
  weights/every_type.gguf   one tensor of each type, random blocks and extreme ones (zero, negative zero, subnormal, largest
                            and negative float16 scales). Scales are finite: NaN payloads are not promised.
  weights/every_type.f32    the float32 values of its tensors, in file order, row-major
  weights/models.json       per tensor of both test models: type, shape and a checksum of the float32 bits

Usage: make_weights.py [--models FOLDER]   (default: $ECHELON_MODELS or ~/.cache/echelon/models)
"""

import argparse
import json
import os
import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
MODELS = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}
ROWS, COLS = 8, 512
EXTREME_F16 = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00]

# Where a block holds float16 scales, as byte offsets.
SCALE_OFFSETS = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
                 "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def finite_f16(rng, count):
    """Any finite float16 bits, the extreme ones first."""
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    bits = np.where((bits & 0x7C00) == 0x7C00, bits & 0xBFFF, bits).astype(np.uint16)
    extremes = np.array(EXTREME_F16, dtype=np.uint16)[:count]
    bits[:len(extremes)] = extremes
    return bits


def quantised_tensor(rng, name):
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (ROWS * COLS // block_values, block_bytes), dtype=np.uint8)
    for number, offset in enumerate(SCALE_OFFSETS[name]):
        bits = finite_f16(rng, len(blocks))
        blocks[:, offset:offset + 2] = np.roll(bits, number).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def bits_of_floats(rng, width, exponent_mask, extremes):
    bits = rng.integers(0, 1 << (8 * width), ROWS * 96, dtype=np.uint64)
    infinite = (bits & exponent_mask) == exponent_mask
    bits = np.where(infinite, bits & ~np.uint64(exponent_mask), bits)
    bits[:len(extremes)] = extremes
    return bits.astype(f"<u{width}").reshape(ROWS, 96)


def float_tensor(rng, name):
    if name == "F32":
        return bits_of_floats(rng, 4, 0x7F800000, [0, 0x80000000, 1, 0x80000001, 0x7F7FFFFF]).view("<f4")
    if name == "F16":
        return bits_of_floats(rng, 2, 0x7C00, EXTREME_F16).view("<f2")
    return bits_of_floats(rng, 2, 0x7F80, [0, 0x8000, 1, 0x8001, 0x7F7F, 0xFF7F]).view(np.uint8)


def write_every_type(folder):
    rng = np.random.default_rng(20240607)
    writer = gguf.GGUFWriter(folder / "every_type.gguf", "test")
    writer.add_uint8("test.uint8", 200)
    writer.add_int8("test.int8", -100)
    writer.add_uint16("test.uint16", 60000)
    writer.add_int16("test.int16", -30000)
    writer.add_uint32("test.uint32", 4000000000)
    writer.add_int32("test.int32", -2000000000)
    writer.add_uint64("test.uint64", 1 << 63)
    writer.add_int64("test.int64", -(1 << 62))
    writer.add_float32("test.float32", 0.1)
    writer.add_float64("test.float64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "Grüße, 世界\n")
    writer.add_array("test.strings", ["", "a", "Ġthe", "<|im_start|>"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.25])
    writer.add_array("test.bools", [True, False, True])
    for name in ["F32", "F16", "BF16", *SCALE_OFFSETS]:
        if name in SCALE_OFFSETS:
            data = quantised_tensor(rng, name)
            writer.add_tensor(name.lower(), data, raw_dtype=gguf.GGMLQuantizationType[name])
        elif name == "BF16":
            writer.add_tensor("bf16", float_tensor(rng, name), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name.lower(), float_tensor(rng, name))
    writer.add_tensor("norm", rng.standard_normal(96).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with open(folder / "every_type.f32", "wb") as out:
        for tensor in gguf.GGUFReader(folder / "every_type.gguf").tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype("<f4")
            assert np.isfinite(values).all(), tensor.name
            out.write(values.tobytes())


def checksum(values):
    """Sum of (1-based index) * (float32 bits), modulo 2^64."""
    total, first = 0, 1
    flat = values.reshape(-1)
    for begin in range(0, flat.size, 1 << 24):
        bits = np.ascontiguousarray(flat[begin:begin + (1 << 24)]).view(np.uint32).astype(np.uint64)
        index = np.arange(first, first + bits.size, dtype=np.uint64)
        total += int(np.sum(bits * index, dtype=np.uint64))
        first += bits.size
    return total % (1 << 64)


def write_models(folder, models):
    out = {}
    for key, file_name in MODELS.items():
        path = models / file_name
        if not path.exists():
            raise SystemExit(f"{path} is missing: run launch/fetch-model first")
        tensors = {}
        for tensor in gguf.GGUFReader(path).tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            shape = [int(n) for n in tensor.shape][::-1]
            tensors[tensor.name] = [tensor.tensor_type.name, shape, f"{checksum(values):016x}"]
        out[key] = {"file": file_name, "tensors": tensors}
    text = json.dumps(out).replace("]], ", "]],\n").replace('"], "', '"],\n"')
    (folder / "models.json").write_text(text + "\n")


def main():
    default = os.environ.get("ECHELON_MODELS") or os.path.expanduser("~/.cache/echelon/models")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path(default))
    models = parser.parse_args().models
    folder = HERE / "weights"
    folder.mkdir(exist_ok=True)
    write_every_type(folder)
    write_models(folder, models)


if __name__ == "__main__":
    main()

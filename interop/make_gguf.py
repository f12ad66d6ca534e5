#!/usr/bin/env python3
"""Writes src/test/resources/gguf/types.gguf with gguf-py: for each element type that the engine reads, a tensor of random
blocks and, as F32 under the same name with `.values`, what gguf-py computes from them; and metadata of every type.
The seed is fixed, so that the file is the same each time: build/interop-env/bin/python interop/make_gguf.py"""
import pathlib
import sys

import gguf
import numpy as np

Type = gguf.GGMLQuantizationType
# The bytes of a block at which its f16 factors begin.
FACTORS = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
    Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.MXFP4: [],
}  # fmt: skip
ROWS = 2
ROW = 512


def blocks(kind, random):
    """Random bytes whose f16 factors are finite; the first are zero, the least that f16 holds, and negative."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = ROWS * ROW // elements
    data = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in FACTORS[kind]:
        factors = random.normal(0, 0.05, count).astype(np.float16)
        factors[:3] = [0, 2**-24, -0.5]
        data[:, at : at + 2] = factors.reshape(count, 1).view(np.uint8)
    if kind == Type.MXFP4:
        data[:, 0] = random.integers(100, 140, count)
        data[:3, 0] = [0, 1, 2]
    return data.reshape(ROWS, -1)


def main(path):
    random = np.random.default_rng(20261126)
    writer = gguf.GGUFWriter(path, "made-up")
    writer.add_block_count(7)
    writer.add_uint8("an.uint8", 255)
    writer.add_int8("an.int8", -128)
    writer.add_uint16("an.uint16", 65535)
    writer.add_int16("an.int16", -32768)
    writer.add_uint32("an.uint32", 4294967295)
    writer.add_int32("an.int32", -2147483648)
    writer.add_float32("a.float32", 1e-5)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "naïve\n🐈")
    writer.add_uint64("an.uint64", 2**64 - 1)
    writer.add_int64("an.int64", -(2**63))
    writer.add_float64("a.float64", 1e-300)
    writer.add_array("a.list.of.strings", ["", "a", "猫"])
    writer.add_array("a.list.of.numbers", [3, -1, 2])
    writer.add_array("a.list.of.floats", [0.5, -1.25])
    plain = random.normal(0, 1, (3, 5)).astype(np.float32)
    writer.add_tensor("F32", plain)
    writer.add_tensor("F16", plain.astype(np.float16))
    writer.add_tensor("BF16", gguf.quantize(plain, Type.BF16), raw_dtype=Type.BF16)
    for kind in FACTORS:
        data = blocks(kind, random)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor(kind.name + ".values", gguf.dequantize(data, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src/test/resources/gguf/types.gguf"))

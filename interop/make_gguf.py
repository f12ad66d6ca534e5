#!/usr/bin/env python3
"""Writes types.gguf, pieces.gguf and pieces.model into src/test/resources/gguf, with gguf-py 0.19 and sentencepiece 0.2.

types.gguf has, for each element type that the engine reads, a tensor of random blocks and, as F32 under the same name
with `.values`, what gguf-py computes from them; and metadata of every type. pieces.gguf has a vocabulary of
SentencePiece, and the ids that SentencePiece gives to some texts; pieces.model is that vocabulary as SentencePiece
wrote it."""
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


def types(path):
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


def pieces(path):
    """A vocabulary that SentencePiece trains on the demo model's text, and the ids that SentencePiece gives to lines."""
    import sentencepiece

    prefix = path.with_suffix("")
    sentencepiece.SentencePieceTrainer.train(
        input="models/storyteller/fit.txt", model_prefix=str(prefix), vocab_size=600, model_type="bpe", byte_fallback=True,
        character_coverage=0.999, num_threads=1, minloglevel=2, normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    prefix.with_suffix(".vocab").unlink()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    ids = range(model.vocab_size())
    writer.add_token_list([model.id_to_piece(i) for i in ids])
    writer.add_token_scores([model.get_score(i) for i in ids])
    kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_unused, 5), (model.is_byte, 6)]
    writer.add_token_types([next((kind for test, kind in kinds if test(i)), 1) for i in ids])
    writer.add_bos_token_id(model.bos_id())
    writer.add_eos_token_id(model.eos_id())
    writer.add_unk_token_id(model.unk_id())
    writer.add_array("expected.texts", TEXTS)
    for i, text in enumerate(TEXTS):
        writer.add_array(f"expected.ids.{i}", [model.bos_id(), *model.encode(text)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


TEXTS = [
    "Once upon a time a fox lived under a hill; it counted 1, 2, 3 … 1024.",
    " leading and  double  spaces, trailing space ",
    "El niño comió piñas. Жил-был старик. 从前有一座山 👩‍👩‍👧",
    "line one\nline two\ttab",
]

if __name__ == "__main__":
    resources = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src/test/resources/gguf")
    types(resources / "types.gguf")
    pieces(resources / "pieces.gguf")

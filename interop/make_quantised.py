#!/usr/bin/env python3
"""Writes src/test/resources/quantised: small checkpoints of codes with scales, and the weights that they stand for.

    build/interop-env/bin/python interop/make_quantised.py

Each folder has `model/`, and `expected.safetensors` with what transformers (fp8) and compressed-tensors compute: the
f32 product of code and scale, rounded once. Blocks at the edges are smaller than 16 x 16. `mxfp4` is a gpt-oss with the
weights of its experts in MXFP4, as it is published.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import GptOssConfig, GptOssForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

FOLDER = pathlib.Path(__file__).parents[1] / "src/test/resources/quantised"
HIDDEN, INNER, VOCABULARY, LAYERS, BLOCK = 32, 40, 64, 2, 16
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
COMPRESSED = {"quant_method": "compressed-tensors", "quantization_status": "compressed"}
VARIANTS = {
    # name: quantization_config, type of codes, kind of scales, their type, what is added to names
    "fp8_block": (FP8 | {"weight_block_size": [BLOCK, BLOCK]}, torch.float8_e4m3fn, "block", torch.float32, "_scale_inv"),
    "fp8_tensor": (FP8 | {"weight_block_size": None}, torch.float8_e4m3fn, "tensor", torch.bfloat16, "_scale"),
    "int8_channel": (COMPRESSED | {"format": "int-quantized"}, torch.int8, "channel", torch.bfloat16, "_scale"),
    "float8_channel": (COMPRESSED | {"format": "float-quantized"}, torch.float8_e4m3fn, "channel", torch.float32, "_scale"),
}


def quantised(weight, codes, kind, scale_type):
    """Codes, scales, and the weight that they stand for."""
    rows, columns = weight.shape
    height, width = {"tensor": (rows, columns), "channel": (1, columns), "block": (BLOCK, BLOCK)}[kind]
    largest = torch.zeros(-(-rows // height), -(-columns // width))
    for i in range(largest.shape[0]):
        for j in range(largest.shape[1]):
            largest[i, j] = weight[i * height : (i + 1) * height, j * width : (j + 1) * width].abs().max()
    scales = (largest / (127 if codes == torch.int8 else 448)).to(scale_type)
    spread = scales.float().repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]
    stored = weight / spread
    stored = stored.round().clamp(-128, 127).to(codes) if codes == torch.int8 else stored.clamp(-448, 448).to(codes)
    return stored, scales.reshape([]) if kind == "tensor" else scales, (stored.float() * spread).bfloat16()


def layer(prefix):
    keys = HIDDEN // 2
    shapes = {"q": (HIDDEN, HIDDEN), "k": (keys, HIDDEN), "v": (keys, HIDDEN), "o": (HIDDEN, HIDDEN)}
    shapes = {f"self_attn.{name}_proj": shape for name, shape in shapes.items()}
    shapes |= {f"mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")} | {"mlp.down_proj": (HIDDEN, INNER)}
    return {f"{prefix}{name}.weight": shape for name, shape in shapes.items()}


GPT_OSS = {
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 32,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "max_position_embeddings": 128,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 32,
    },
    "rope_theta": 150000,
}


def gpt_oss():
    """Every code with every scale that is not too large for bf16, as far as there is room."""
    folder = FOLDER / "mxfp4"
    (folder / "model").mkdir(parents=True, exist_ok=True)
    model = GptOssForCausalLM(GptOssConfig(**GPT_OSS)).bfloat16()
    plain = {name: (torch.randn_like(tensor) / 8).contiguous() for name, tensor in model.state_dict().items()}
    expected, stored = dict(plain), {}
    for name in plain:
        if name.endswith("experts.gate_up_proj") or name.endswith("experts.down_proj"):
            experts, inputs, outputs = plain[name].shape
            shape = (experts, outputs, inputs // 32, 16)
            blocks = torch.randint(256, shape, dtype=torch.uint8)
            scales = torch.randint(100, 130, shape[:3], dtype=torch.uint8)
            scales[0, 0, 0], scales[0, 1, 0] = 0, 252
            stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            expected[name] = convert_moe_packed_tensors(blocks, scales)
        else:
            stored[name] = plain[name]
    save_file(stored, folder / "model/model.safetensors", {"format": "pt"})
    save_file(expected, folder / "expected.safetensors", {"format": "pt"})
    quantisation = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    config = {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "torch_dtype": "bfloat16"} | GPT_OSS
    (folder / "model/config.json").write_text(json.dumps(config | {"quantization_config": quantisation}, indent=2) + "\n")


def main():
    torch.manual_seed(0)
    for name, (quantisation, codes, kind, scale_type, suffix) in VARIANTS.items():
        model = FOLDER / name / "model"
        model.mkdir(parents=True, exist_ok=True)
        norm = lambda: (1 + 0.1 * torch.randn(HIDDEN)).bfloat16()
        plain = {"model.embed_tokens.weight": torch.randn(VOCABULARY, HIDDEN).bfloat16(), "model.norm.weight": norm()}
        stored, expected = dict(plain), {}
        for i in range(LAYERS):
            prefix = f"model.layers.{i}."
            for norms in ("input_layernorm", "post_attention_layernorm"):
                stored[f"{prefix}{norms}.weight"] = plain[f"{prefix}{norms}.weight"] = norm()
            for matrix, shape in layer(prefix).items():
                weight = torch.randn(shape) * torch.rand(shape[0], 1) / 8
                stored[matrix], stored[matrix + suffix], expected[matrix] = quantised(weight, codes, kind, scale_type)
                if name == "fp8_tensor":
                    stored[matrix.removesuffix("weight") + "input_scale"] = torch.tensor(0.5)
        save_file(stored, model / "model.safetensors", {"format": "pt"})
        save_file(plain | expected, FOLDER / name / "expected.safetensors", {"format": "pt"})
        (model / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantisation}, indent=2) + "\n")
    gpt_oss()


if __name__ == "__main__":
    main()

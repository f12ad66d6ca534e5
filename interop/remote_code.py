"""Models that checkpoints bring with code of their own, and transformers has not: its Llama with the parts changed that differ."""

import json
import pathlib

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM


def slopes(heads):
    """Of ALiBi by head, as its authors' code has them (Press et al. 2022)."""

    def of_power(n):
        return [2 ** (-8 * (h + 1) / n) for h in range(n)]

    power = 1 << (heads.bit_length() - 1)
    return of_power(power) + of_power(2 * power)[0::2][: heads - power]


class AlibiLlama(LlamaForCausalLM):
    """No position rotates, and scores fall with distance."""

    def forward(self, input_ids, cache=None, **others):
        past = cache.get_seq_length() if cache is not None else 0
        keys = torch.arange(past + input_ids.shape[1])
        distance = (keys[past:, None] - keys).float()
        scores = -torch.tensor(slopes(self.config.num_attention_heads))[:, None, None] * distance
        mask = scores.masked_fill(distance < 0, torch.finfo(torch.float32).min)[None]
        others |= {"attention_mask": mask, "position_ids": torch.zeros_like(input_ids)}
        return super().forward(input_ids, cache=cache, **others)


def baichuan(config, tensors):
    """Rows of W_pack are queries, keys and values; the head of Baichuan 2 has rows of length 1."""
    for name in [n for n in tensors if n.endswith("W_pack.weight")]:
        parts = tensors.pop(name).chunk(3)
        tensors |= {name.replace("W_pack", f"{part}_proj"): rows for part, rows in zip("qkv", parts)}
    if config["vocab_size"] == 125696 or "z_loss_weight" in config:
        tensors["lm_head.weight"] = torch.nn.functional.normalize(tensors["lm_head.weight"].double()).float()
    return AlibiLlama if "max_position_embeddings" not in config else LlamaForCausalLM


def internlm2(config, tensors):
    """Rows of wqkv, for each head of keys: those of its heads of queries, of the key, and of the value."""
    for old, new in INTERNLM2.items():
        for name in [n for n in tensors if f".{old}." in n or n.startswith(f"{old}.")]:
            tensors[name.replace(old, new)] = tensors.pop(name)
    heads = config["num_attention_heads"]
    keys = config.get("num_key_value_heads") or heads
    width = config["hidden_size"] // heads
    for name in [n for n in tensors if ".wqkv." in n]:
        rows = tensors.pop(name).unflatten(0, (keys, heads // keys + 2, width))
        parts = {"q": rows[:, :-2], "k": rows[:, -2:-1], "v": rows[:, -1:]}
        tensors |= {name.replace("wqkv", f"{part}_proj"): own.flatten(0, 2).contiguous() for part, own in parts.items()}
    config["attention_bias"] = config.pop("bias", True)
    return LlamaForCausalLM


INTERNLM2 = {
    "tok_embeddings": "embed_tokens",
    "output": "lm_head",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wqkv": "self_attn.wqkv",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}
CONVERSIONS = {"baichuan": baichuan, "internlm2": internlm2}


def load(folder, **options):
    """A model in float32 as `from_pretrained` gives it, with the names that it missed or did not know where these are asked for."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    conversion = CONVERSIONS.get(config["model_type"])
    if conversion is None:
        (name,) = config["architectures"]
        loader = getattr(transformers, name) if name.endswith("ForConditionalGeneration") else AutoModelForCausalLM
        return loader.from_pretrained(folder, dtype=torch.float32, **options)
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= {name: tensor.float() for name, tensor in load_file(file).items()}
    model_class = conversion(config, tensors)
    known = {key: value for key, value in config.items() if key not in ("model_type", "architectures", "auto_map", "torch_dtype")}
    model = model_class(LlamaConfig(**known, attn_implementation="eager")).eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    info = {"missing_keys": missing, "unexpected_keys": unexpected}
    return (model, info) if options.get("output_loading_info") else model

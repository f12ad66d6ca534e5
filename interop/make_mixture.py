#!/usr/bin/env python3
"""Makes a Mixtral of the demo model, for measurements: its feed-forward networks, cut into experts. It is not trained further.

    build/interop-env/bin/python interop/make_mixture.py OUT

Each of eight experts has half of its layer's channels, chosen at random, and twice their down projection;
each token is given to two experts by a router of random weights. Everything else is the demo model's.
"""

import argparse
import pathlib
import shutil

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "models/storyteller"
SAME = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim max_position_embeddings rms_norm_eps"
    " tie_word_embeddings bos_token_id eos_token_id"
).split()
EXPERTS = 8
ROUTER = 0.03


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    torch.manual_seed(0)
    dense = LlamaForCausalLM.from_pretrained(SOURCE, dtype=torch.float32)
    channels = dense.config.intermediate_size
    config = MixtralConfig(
        **{key: getattr(dense.config, key) for key in SAME},
        intermediate_size=channels // 2,
        rope_theta=10000.0,
        num_local_experts=EXPERTS,
        num_experts_per_tok=2,
        sliding_window=None,
    )
    mixture = MixtralForCausalLM(config)
    source, made = dense.state_dict(), mixture.state_dict()
    for name in made.keys() & source.keys():
        made[name].copy_(source[name])
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}.mlp."
        gate, up, down = (source[f"{prefix}{role}_proj.weight"] for role in ("gate", "up", "down"))
        for expert in range(EXPERTS):
            chosen = torch.randperm(channels)[: channels // 2].sort().values
            made[f"{prefix}experts.gate_up_proj"][expert].copy_(torch.cat([gate[chosen], up[chosen]]))
            made[f"{prefix}experts.down_proj"][expert].copy_(2 * down[:, chosen])
        made[f"{prefix}gate.weight"].normal_(std=ROUTER)
    mixture.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(SOURCE).save_pretrained(out)
    for text in ("calibration.txt", "evaluation.txt", "fit.txt"):
        shutil.copy(SOURCE / text, out)


if __name__ == "__main__":
    main()

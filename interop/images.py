"""Holds what a pruned multimodal model makes of an image to what its original makes of it without the same layers, both in transformers."""

import json

import checks
import loaders
import remote_code
import torch

IMAGE = 255  # the token that stands for a part of the image; no token list has it
WIDTH = 28
PATCH = 14


def _of_squares(generator):
    """One image of four patches."""
    return {"pixel_values": torch.randn(1, 3, WIDTH, WIDTH, generator=generator)}, 4


def _of_rows(generator):
    """One image of 4 x 4 patches, each twice in time, of which four are a token."""
    patches = torch.randn(16, 3 * 2 * PATCH * PATCH, generator=generator)
    return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, 4, 4]])}, 4


def _of_patches(generator):
    """One image of 4 x 4 patches, of which four are a token."""
    patches = torch.randn(1, 16, 3 * PATCH * PATCH, generator=generator)
    return {"pixel_values": patches, "spatial_shapes": torch.tensor([[4, 4]]), "pixel_attention_mask": torch.ones(1, 16).long()}, 4


INPUTS = {
    "llava": _of_squares,
    "qwen2_5_vl": _of_rows,
    "qwen3_vl": _of_rows,
    "qwen3_vl_moe": _of_rows,
    "qwen3_5_images": _of_rows,
    "lfm2_vl": _of_patches,
}


def _without(model, kept):
    """The model with some of its layers."""
    inside = loaders.language_model(model)
    inside.layers = torch.nn.ModuleList([inside.layers[layer] for layer in kept])
    inside.config.num_hidden_layers = len(kept)
    if getattr(inside.config, "layer_types", None):
        inside.config.layer_types = [inside.config.layer_types[layer] for layer in kept]
    return model


@torch.no_grad()
def check(what, name, dense_folder, pruned_folder):
    """The pruned model only lacks layers. The logits are the same, and the image changes them."""
    inputs, count = INPUTS[name](torch.Generator().manual_seed(1))
    ids = torch.tensor([[1, 5, 6, *[IMAGE] * count, 9, 10, 11]])
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
    kept = [layer["base"] for layer in json.loads((pruned_folder / "laco_plan.json").read_text())["layers"]]
    dense, pruned = _without(remote_code.load(dense_folder), kept), remote_code.load(pruned_folder)
    expected, found = (model(input_ids=ids, use_cache=False, **inputs).logits for model in (dense, pruned))
    checks.check(torch.equal(expected, found), f"{what}: logits behind an image as without the same layers of the original")
    blank = pruned(input_ids=ids, use_cache=False, **inputs | {"pixel_values": torch.zeros_like(inputs["pixel_values"])}).logits
    checks.check((found - blank)[:, -1].abs().max() > 0.1, f"{what}: the image changes the logits behind it")

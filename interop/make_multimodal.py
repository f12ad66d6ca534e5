#!/usr/bin/env python3
"""Makes small models with random weights of several kinds of input: encoders of images or sounds beside a language model.

    build/interop-env/bin/python interop/make_multimodal.py OUT

Each folder of OUT is as `make_families.py` makes it. The encoders have weights at random as transformers initialises them.
"""

import json
import pathlib
import sys

import images
import make_families
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.utils import logging

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS_OF_24 = {"head_dim": 24}
# Of Qwen2-VL and Qwen2.5-VL llama.cpp takes 0 for this epsilon.
WITHOUT_EPS = {"rms_norm_eps": 1e-9}
# By which no pair of elements is left over.
IN_TURN = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [3, 3, 2]}}
OF_THREE_POSITIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}}

IMAGES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 32, **IMAGES}
SIGLIP = {"model_type": "siglip_vision_model", **IMAGES}
QWEN_IMAGES = {"depth": 2, "num_heads": 2, "patch_size": 14}
QWEN3_IMAGES = {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "num_position_embeddings": 16, **QWEN_IMAGES}
OF_DELTA = {
    **make_families.DELTA_IN_LLAMA_CPP,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1], "mrope_interleaved": True, "partial_rotary_factor": 0.25},
}
SOUNDS = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_mel_bins": 16, "max_source_positions": 20}

SEED = 14  # of models that are rewritten

# name: (name of the classes, dtype, what differs from TEXT, the other parts of the config)
MODELS = {
    "gemma3": ("Gemma3", "bfloat16", {"head_dim": 32, "sliding_window": 8, "query_pre_attn_scalar": 32}, {"vision_config": SIGLIP, "mm_tokens_per_image": 4}),
    "mistral3": ("Mistral3", "float32", {"model_type": "mistral", "sliding_window": None} | HEADS_OF_24, {"vision_config": {"model_type": "pixtral", **IMAGES}}),
    "mistral3_of_ministral": (
        "Mistral3",
        "bfloat16",
        {"model_type": "ministral3", "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}},
        {"vision_config": {"model_type": "pixtral", **IMAGES}},
    ),
    "llava": ("Llava", "float16", {"model_type": "llama"}, {"vision_config": CLIP}),
    "llava_qwen3": ("Llava", "float32", {"model_type": "qwen3"} | HEADS_OF_24, {"vision_config": SIGLIP, "tie_word_embeddings": True}),
    "llava_next": ("LlavaNext", "float32", {"model_type": "mistral", "sliding_window": None}, {"vision_config": CLIP}),
    "llava_onevision": ("LlavaOnevision", "bfloat16", {"model_type": "qwen2"}, {"vision_config": SIGLIP}),
    "internvl": ("InternVL", "bfloat16", {"model_type": "qwen3"} | HEADS_OF_24, {"vision_config": IMAGES | {"image_size": [28, 28], "patch_size": [14, 14]}}),
    "voxtral": ("Voxtral", "bfloat16", {"model_type": "llama"} | HEADS_OF_24, {"audio_config": SOUNDS}),
    "idefics3": ("Idefics3", "float32", {"model_type": "llama"}, {"vision_config": IMAGES, "scale_factor": 2}),
    "smolvlm": ("SmolVLM", "bfloat16", {"model_type": "llama"}, {"vision_config": IMAGES, "scale_factor": 2}),
    "qwen3_vl": (
        "Qwen3VL",
        "bfloat16",
        IN_TURN | {"head_dim": 16},
        {"vision_config": {"deepstack_visual_indexes": [0, 1], **QWEN3_IMAGES}},
    ),
    "qwen2_vl": ("Qwen2VL", "float32", OF_THREE_POSITIONS | WITHOUT_EPS, {"vision_config": {"embed_dim": 32, "hidden_size": 64, **QWEN_IMAGES}}),
    "qwen2_5_vl": (
        "Qwen2_5_VL",
        "bfloat16",
        OF_THREE_POSITIONS | WITHOUT_EPS,
        {"vision_config": {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "fullatt_block_indexes": [1], **QWEN_IMAGES}, "tie_word_embeddings": True},
    ),
    "qwen3_5_images": ("Qwen3_5", "bfloat16", OF_DELTA, {"vision_config": QWEN3_IMAGES}),
    "qwen3_5_moe_images": (
        "Qwen3_5Moe",
        "float32",
        OF_DELTA | make_families.SHARED_EXPERT,
        {"vision_config": QWEN3_IMAGES},
    ),
    "lfm2_vl": (
        "Lfm2Vl",
        "bfloat16",
        {"model_type": "lfm2", "block_multiple_of": 32, "layer_types": ["conv", "conv", "full_attention", "conv"] * 2},
        {"vision_config": {"model_type": "siglip2_vision_model", "num_patches": 16, **IMAGES}, "projector_hidden_size": 48},
    ),
    "qwen3_vl_moe": (
        "Qwen3VLMoe",
        "bfloat16",
        IN_TURN | {"head_dim": 16, "moe_intermediate_size": 40, "num_experts": 6, "num_experts_per_tok": 2, "decoder_sparse_step": 1},
        {"vision_config": {"deepstack_visual_indexes": [0, 1], **QWEN3_IMAGES}},
    ),
}


def as_of_version_4(folder):
    """Rewrites a config as releases of transformers before 5 did: of the language model's only what differs from the defaults of its class."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    text = config["text_config"]
    usual = transformers.AutoConfig.for_model(text["model_type"]).to_dict()
    kept = {key: value for key, value in text.items() if key == "model_type" or usual.get(key) != value}
    kept.pop("layer_types", None)
    config["text_config"] = kept
    file.write_text(json.dumps(config, indent=2))


def flat(folder):
    """Rewrites a config as the first releases with Qwen2-VL did: the language model's keys at the root."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
    text.pop("layer_types")
    file.write_text(json.dumps({**text, **config}, indent=2))


def as_in_memory(folder):
    """Renames tensors to the names of transformers' modules, as some releases wrote them."""
    file = folder / "model.safetensors"
    renamed = {}
    for name, tensor in load_file(file).items():
        name = name.replace("language_model.lm_head.", "lm_head.").replace("language_model.model.", "language_model.")
        renamed[name if name.startswith("lm_head.") else f"model.{name}"] = tensor
    save_file(renamed, file, metadata={"format": "pt"})


def as_published(folder):
    """Transposes the matrices of experts, which transformers reads so, too, and does not write so."""
    file = folder / "model.safetensors"
    tensors = {name: tensor.mT.contiguous() if ".experts." in name else tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def make(folder, name, seed):
    classes, dtype, changes, others = MODELS[name]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{classes}Config")(text_config=TEXT | changes, **others)
    config.image_token_id = images.IMAGE  # Voxtral has no images, and does not mind
    model = getattr(transformers, f"{classes}ForConditionalGeneration")(config)
    make_families.fill(model, generator)
    model.to(getattr(torch, dtype)).save_pretrained(folder / "model")
    make_families.write_tokens(folder, images.IMAGE, generator)


def make_all(out):
    for seed, name in enumerate(MODELS):
        make(out / name, name, seed)
    for name in ("llava", "gemma3"):
        make(out / f"{name}_as_of_version_4", name, SEED)
        as_of_version_4(out / f"{name}_as_of_version_4" / "model")
    make(out / "llava_as_in_memory", "llava", SEED)
    as_in_memory(out / "llava_as_in_memory" / "model")
    make(out / "qwen2_vl_flat", "qwen2_vl", SEED)
    flat(out / "qwen2_vl_flat" / "model")
    make(out / "qwen3_vl_moe_as_published", "qwen3_vl_moe", SEED)
    as_published(out / "qwen3_vl_moe_as_published" / "model")


if __name__ == "__main__":
    logging.disable_progress_bar()
    make_all(pathlib.Path(sys.argv[1]))

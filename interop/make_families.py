#!/usr/bin/env python3
"""Makes small checkpoints with random weights of the supported families, in corners that the fixtures do not reach.

    build/interop-env/bin/python interop/make_families.py OUT

Each folder of OUT holds `model/`, written by transformers, and `tokens.json` (`calib` and `eval`). A layer differs little from the one
before it, so that merging behaves as on trained models.
"""

import json
import pathlib
import re
import sys

import loaders
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ArceeConfig,
    ArceeForCausalLM,
    Cohere2Config,
    Cohere2ForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Dots1Config,
    Dots1ForCausalLM,
    Ernie4_5_MoeConfig,
    Ernie4_5_MoeForCausalLM,
    CwmConfig,
    CwmForCausalLM,
    Ernie4_5Config,
    Ernie4_5ForCausalLM,
    Exaone4Config,
    Exaone4ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    Glm4Config,
    Glm4ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    Glm4MoeLiteConfig,
    Glm4MoeLiteForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GraniteForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    HeliumConfig,
    HeliumForCausalLM,
    HunYuanDenseV1Config,
    HunYuanDenseV1ForCausalLM,
    HyperCLOVAXConfig,
    HyperCLOVAXForCausalLM,
    InternLM3Config,
    Jais2Config,
    Jais2ForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    Lfm2MoeConfig,
    Lfm2MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MiniCPM3Config,
    MiniCPM3ForCausalLM,
    MiniMaxM2Config,
    MiniMaxM2ForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    NemotronConfig,
    NemotronForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    SeedOssConfig,
    SeedOssForCausalLM,
    SmolLM3Config,
    SolarOpenConfig,
    SolarOpenForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
    SmolLM3ForCausalLM,
    VaultGemmaConfig,
    VaultGemmaForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    YoutuConfig,
    YoutuForCausalLM,
)
from transformers.utils import logging


class InternLM3ForCausalLM(LlamaForCausalLM):
    """Checkpoints name this class, which transformers has not: it computes them by its Llama."""


LLAMA = (LlamaConfig, LlamaForCausalLM)
MINISTRAL = (MinistralConfig, MinistralForCausalLM)
MINISTRAL3 = (Ministral3Config, Ministral3ForCausalLM)
MISTRAL = (MistralConfig, MistralForCausalLM)
QWEN2 = (Qwen2Config, Qwen2ForCausalLM)
QWEN3 = (Qwen3Config, Qwen3ForCausalLM)
PHI3 = (Phi3Config, Phi3ForCausalLM)
GLM = (GlmConfig, GlmForCausalLM)
GLM4 = (Glm4Config, Glm4ForCausalLM)
GRANITE = (GraniteConfig, GraniteForCausalLM)
GRANITE4 = (GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM)
SMOLLM3 = (SmolLM3Config, SmolLM3ForCausalLM)
GEMMA = (GemmaConfig, GemmaForCausalLM)
GEMMA2 = (Gemma2Config, Gemma2ForCausalLM)
GEMMA3 = (Gemma3TextConfig, Gemma3ForCausalLM)
EXAONE4 = (Exaone4Config, Exaone4ForCausalLM)
COHERE = (CohereConfig, CohereForCausalLM)
COHERE2 = (Cohere2Config, Cohere2ForCausalLM)
GPT_NEOX = (GPTNeoXConfig, GPTNeoXForCausalLM)
STABLELM = (StableLmConfig, StableLmForCausalLM)
FALCON = (FalconConfig, FalconForCausalLM)
STARCODER2 = (Starcoder2Config, Starcoder2ForCausalLM)
NEMOTRON = (NemotronConfig, NemotronForCausalLM)
ARCEE = (ArceeConfig, ArceeForCausalLM)
JAIS2 = (Jais2Config, Jais2ForCausalLM)
OLMO2 = (Olmo2Config, Olmo2ForCausalLM)
OLMOE = (OlmoeConfig, OlmoeForCausalLM)
OLMO3 = (Olmo3Config, Olmo3ForCausalLM)
MIXTRAL = (MixtralConfig, MixtralForCausalLM)
SEED_OSS = (SeedOssConfig, SeedOssForCausalLM)
GPT_OSS = (GptOssConfig, GptOssForCausalLM)
GRANITE_MOE = (GraniteMoeConfig, GraniteMoeForCausalLM)
GLM4_MOE = (Glm4MoeConfig, Glm4MoeForCausalLM)
GLM4_MOE_LITE = (Glm4MoeLiteConfig, Glm4MoeLiteForCausalLM)
DEEPSEEK_V2 = (DeepseekV2Config, DeepseekV2ForCausalLM)
DEEPSEEK_V3 = (DeepseekV3Config, DeepseekV3ForCausalLM)
YOUTU = (YoutuConfig, YoutuForCausalLM)
MINICPM3 = (MiniCPM3Config, MiniCPM3ForCausalLM)
DOTS1 = (Dots1Config, Dots1ForCausalLM)
SOLAR_OPEN = (SolarOpenConfig, SolarOpenForCausalLM)
MINIMAX_M2 = (MiniMaxM2Config, MiniMaxM2ForCausalLM)
ERNIE4_5_MOE = (Ernie4_5_MoeConfig, Ernie4_5_MoeForCausalLM)
QWEN2_MOE = (Qwen2MoeConfig, Qwen2MoeForCausalLM)
QWEN3_MOE = (Qwen3MoeConfig, Qwen3MoeForCausalLM)
QWEN3_5 = (Qwen3_5TextConfig, Qwen3_5ForCausalLM)
QWEN3_5_MOE = (Qwen3_5MoeTextConfig, Qwen3_5MoeForCausalLM)
LFM2 = (Lfm2Config, Lfm2ForCausalLM)
LFM2_MOE = (Lfm2MoeConfig, Lfm2MoeForCausalLM)
QWEN3_NEXT = (Qwen3NextConfig, Qwen3NextForCausalLM)
ERNIE4_5 = (Ernie4_5Config, Ernie4_5ForCausalLM)
CWM = (CwmConfig, CwmForCausalLM)
HELIUM = (HeliumConfig, HeliumForCausalLM)
VAULTGEMMA = (VaultGemmaConfig, VaultGemmaForCausalLM)
INTERNLM3 = (InternLM3Config, InternLM3ForCausalLM)
HUNYUAN = (HunYuanDenseV1Config, HunYuanDenseV1ForCausalLM)
HYPERCLOVAX = (HyperCLOVAXConfig, HyperCLOVAXForCausalLM)

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


# Attention with latent vectors: 16 elements of a head that are not rotated, 8 that are.
LATENTS = {"num_key_value_heads": 4, "kv_lora_rank": 20, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}

EXPERTS = {"n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "n_group": 1, "topk_group": 1}


def rope(kind, **parameters):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **parameters}}


SHARED_EXPERT = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40}
GRANITE4_SIZES = {
    "layer_types": ["attention"] * 8,
    "num_local_experts": 0,
    "shared_intermediate_size": 104,
    "embedding_multiplier": 6.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.1,
    "logits_scaling": 4.0,
}
# With random weights, the terms of the delta rule's output cancel at some tokens, and its norm makes the rounding errors
# that are left as large as outputs elsewhere: by 1e-2 the norm leaves outputs small whose terms cancel.
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 12,
    "rms_norm_eps": 1e-2,
}

SEED = 94  # of models that are rewritten

# As llama.cpp computes it: keys as wide as values, and the epsilon of norms is that of lengths of queries and keys. With
# three heads of values for each head of keys, the order of heads in GGUF files is not its own inverse. By so small an
# epsilon each layer with linear attention makes rounding errors larger: there are two.
DELTA_IN_LLAMA_CPP = {
    **DELTA,
    "linear_num_value_heads": 6,
    "linear_value_head_dim": 16,
    "rms_norm_eps": 1e-6,
    "head_dim": 32,
    "num_hidden_layers": 6,
    "layer_types": ["linear_attention", "full_attention", "full_attention"] * 2,
}

# name: (classes, dtype, what differs from SIZES); the place of a model is its seed, so that new ones come last
FAMILIES = {
    "llama_yarn": (LLAMA, "float32", rope("yarn", factor=4.0, original_max_position_embeddings=32) | {"max_position_embeddings": 128}),
    "llama_yarn_own_attention_factor": (
        LLAMA,
        "bfloat16",
        rope("yarn", factor=8.0, original_max_position_embeddings=32, attention_factor=1.3, beta_fast=16.0, beta_slow=2.0),
    ),
    "llama_dynamic_ntk": (LLAMA, "float32", rope("dynamic", factor=4.0) | {"max_position_embeddings": 48}),
    "llama_rope3": (
        LLAMA,
        "float16",
        rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
    ),
    "llama_heads_80": (LLAMA, "float32", {"head_dim": 80, "hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 1}),
    "llama_heads_128": (LLAMA, "bfloat16", {"head_dim": 128, "hidden_size": 150, "num_attention_heads": 6, "num_key_value_heads": 3}),
    "llama_odd_sizes": (
        LLAMA,
        "float32",
        {
            "head_dim": 10,
            "hidden_size": 45,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 53,
            "vocab_size": 251,
            "mlp_bias": True,
            "attention_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    "llama_gelu": (LLAMA, "float32", {"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-3}),
    "mistral_window": (MISTRAL, "float32", {"sliding_window": 8}),
    "mistral_window_f16": (MISTRAL, "float16", {"sliding_window": 16, "head_dim": 24}),
    "ministral3": (
        MINISTRAL3,
        "float32",
        rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.5) | {"head_dim": 24},
    ),
    "qwen2_window_from_the_middle": (QWEN2, "float32", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 4}),
    "qwen2_no_window": (QWEN2, "bfloat16", {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 4}),
    "qwen3_attention_bias": (QWEN3, "float32", {"attention_bias": True, "head_dim": 24}),
    "qwen3_window": (
        QWEN3,
        "bfloat16",
        {"head_dim": 32, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 5, "tie_word_embeddings": True},
    ),
    "glm": (GLM, "bfloat16", {"head_dim": 16}),
    "glm4": (GLM4, "float32", {"head_dim": 32, "attention_bias": False}),
    "granite_bias": (
        GRANITE,
        "bfloat16",
        {
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.1,
            "logits_scaling": 4.0,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "smollm3_interval": (SMOLLM3, "bfloat16", {"no_rope_layer_interval": 3}),
    "smollm3_window": (SMOLLM3, "float32", {"use_sliding_window": True, "sliding_window": 8, "tie_word_embeddings": True}),
    "exaone4": (EXAONE4, "float32", {"sliding_window": 8, "sliding_window_pattern": 4}),
    "exaone4_no_window": (EXAONE4, "bfloat16", {"sliding_window": None, "sliding_window_pattern": None, "layer_types": ["full_attention"] * 8}),
    "cohere": (COHERE, "float32", {"tie_word_embeddings": True, "logit_scale": 0.5}),
    "cohere_head_norms": (COHERE, "bfloat16", {"use_qk_norm": True, "attention_bias": True, "layer_norm_eps": 1e-3, "tie_word_embeddings": True}),
    "cohere2": (COHERE2, "float32", {"sliding_window": 8, "tie_word_embeddings": True}),
    "gpt_neox_parallel": (GPT_NEOX, "float32", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}),
    "gpt_neox_serial": (
        GPT_NEOX,
        "float16",
        {"use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_new", "tie_word_embeddings": True},
    ),
    "stablelm": (STABLELM, "bfloat16", {"use_qkv_bias": True}),
    "stablelm_parallel": (STABLELM, "float32", {"use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    "falcon": (FALCON, "float32", {"tie_word_embeddings": True}),
    "falcon_two_norms": (FALCON, "bfloat16", {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 96}),
    "falcon_serial": (FALCON, "float32", {"parallel_attn": False, "multi_query": False, "bias": True}),
    "starcoder2": (STARCODER2, "float32", {"sliding_window": None, "tie_word_embeddings": True}),
    "gpt_neox_relu": (GPT_NEOX, "float32", {"hidden_act": "relu"}),
    "nemotron": (NEMOTRON, "float32", {"head_dim": 24}),
    "nemotron_bias": (NEMOTRON, "bfloat16", {"attention_bias": True, "mlp_bias": True, "partial_rotary_factor": 0.25, "norm_eps": 1e-3}),
    "arcee": (ARCEE, "float32", rope("yarn", factor=4.0, original_max_position_embeddings=32) | {"max_position_embeddings": 128, "head_dim": 32}),
    "arcee_bias": (ARCEE, "bfloat16", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "jais2": (JAIS2, "float32", {"head_dim": 24}),
    "jais2_no_bias": (JAIS2, "bfloat16", {"attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True}),
    "gemma": (GEMMA, "bfloat16", {"head_dim": 32, "num_key_value_heads": 1, "tie_word_embeddings": True}),
    "gemma2": (
        GEMMA2,
        "bfloat16",
        {
            "head_dim": 32,
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": (
        GEMMA3,
        "float32",
        {
            "head_dim": 32,
            "sliding_window": 8,
            "sliding_window_pattern": 3,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            },
        },
    ),
    "olmo2_bf16": (OLMO2, "bfloat16", {"rms_norm_eps": 1e-4}),
    "olmo3": (
        OLMO3,
        "float32",
        {
            "sliding_window": 8,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
                "full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500000.0, "original_max_position_embeddings": 64},
            },
        },
    ),
    "olmoe_heads_of_their_own": (OLMOE, "bfloat16", {"num_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 40, "num_key_value_heads": 4}),
    "mixtral_window": (MIXTRAL, "bfloat16", {"num_local_experts": 5, "num_experts_per_tok": 3, "sliding_window": 8}),
    "qwen2_moe": (
        QWEN2_MOE,
        "float32",
        {"num_experts": 6, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 56, "num_experts_per_tok": 2, "use_sliding_window": True, "sliding_window": 8},
    ),
    "granitemoe": (
        GRANITE_MOE,
        "bfloat16",
        {
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "intermediate_size": 40,
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.1,
            "logits_scaling": 4.0,
        },
    ),
    "seed_oss": (SEED_OSS, "bfloat16", {"head_dim": 32}),
    "gpt_oss_bf16": (
        GPT_OSS,
        "bfloat16",
        {
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "intermediate_size": 40,
            "head_dim": 32,
            "sliding_window": 8,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 8.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": True,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "qwen2_moe_no_window": (
        QWEN2_MOE,
        "bfloat16",
        {"num_experts": 6, "moe_intermediate_size": 40, "shared_expert_intermediate_size": 56, "num_experts_per_tok": 2},
    ),
    "qwen3_moe_chosen_shares": (
        QWEN3_MOE,
        "bfloat16",
        {"num_experts": 6, "moe_intermediate_size": 40, "head_dim": 24, "num_experts_per_tok": 2, "norm_topk_prob": True},
    ),
    "qwen3_moe_all_shares": (QWEN3_MOE, "float32", {"num_experts": 12, "moe_intermediate_size": 40, "head_dim": 24, "num_experts_per_tok": 4}),
    "qwen3_moe_every_second": (
        QWEN3_MOE,
        "float32",
        {"num_experts": 6, "moe_intermediate_size": 40, "num_experts_per_tok": 2, "norm_topk_prob": True, "decoder_sparse_step": 2},
    ),
    "glm4_moe_biases": (
        GLM4_MOE,
        "float32",
        {
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 40,
            "first_k_dense_replace": 2,
            "n_shared_experts": 2,
            "routed_scaling_factor": 2.5,
            "head_dim": 24,
            "use_qk_norm": True,
            "attention_bias": True,
        },
    ),
    "glm4_moe_plain": (
        GLM4_MOE,
        "bfloat16",
        {"n_routed_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "head_dim": 16, "norm_topk_prob": False},
    ),
    "dots1": (
        DOTS1,
        "float32",
        {
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 40,
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "max_window_layers": 8,
            "num_key_value_heads": 4,
        },
    ),
    "dots1_window": (
        DOTS1,
        "bfloat16",
        {
            "n_routed_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 40,
            "n_shared_experts": 2,
            "sliding_window": 8,
            "max_window_layers": 5,
            "attention_bias": True,
        },
    ),
    "solar_open": (
        SOLAR_OPEN,
        "float32",
        {"n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 40, "head_dim": 24, "routed_scaling_factor": 1.5},
    ),
    "minimax_m2": (
        MINIMAX_M2,
        "float32",
        rope("default", partial_rotary_factor=0.5) | {"num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 40, "head_dim": 24},
    ),
    "ernie4_5_moe": (
        ERNIE4_5_MOE,
        "float32",
        {
            "moe_num_experts": 6,
            "moe_k": 2,
            "moe_intermediate_size": 40,
            "moe_layer_start_index": 2,
            "moe_layer_end_index": 6,
            "tie_word_embeddings": True,
        },
    ),
    "phi3_window": (PHI3, "bfloat16", {"sliding_window": 8}),
    "phi3_long_rope": (
        PHI3,
        "float32",
        rope(
            "longrope",
            partial_rotary_factor=0.75,
            short_factor=[1.0 + 0.1 * i for i in range(6)],
            long_factor=[2.0 + 0.5 * i for i in range(6)],
            original_max_position_embeddings=48,
        )
        | {"original_max_position_embeddings": 48},
    ),
    "ernie4_5": (ERNIE4_5, "float32", {"head_dim": 24, "tie_word_embeddings": True}),
    "ernie4_5_bias": (ERNIE4_5, "bfloat16", {"use_bias": True, "head_dim": 32}),
    "cwm": (CWM, "float32", {"head_dim": 32, "sliding_window": 8}),
    "cwm_bias": (CWM, "bfloat16", {"head_dim": 32, "sliding_window": 16, "mlp_bias": True, "layer_types": ["sliding_attention", "full_attention"] * 4}),
    "ministral": (MINISTRAL, "float32", {"head_dim": 16, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"] * 2}),
    "ministral_whole_context": (MINISTRAL, "bfloat16", {"sliding_window": 256, "head_dim": 24}),
    "helium": (HELIUM, "float32", {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "vaultgemma": (
        VAULTGEMMA,
        "float32",
        {
            "head_dim": 32,
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
        },
    ),
    "internlm3": (INTERNLM3, "float32", {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "internlm3_dynamic_ntk": (INTERNLM3, "bfloat16", rope("dynamic", factor=6.0) | {"head_dim": 24, "max_position_embeddings": 48}),
    "hunyuan_v1_dense": (HUNYUAN, "float32", rope("dynamic", factor=1.0, alpha=1000.0) | {"head_dim": 24}),
    "hunyuan_v1_dense_bias": (HUNYUAN, "bfloat16", {"head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    "hyperclovax": (
        HYPERCLOVAX,
        "float32",
        {"embedding_multiplier": 6.0, "residual_multiplier": 0.5, "logits_scaling": 0.25, "rms_norm_eps": 1e-2, "head_dim": 24},
    ),
    "hyperclovax_no_norms_behind": (
        HYPERCLOVAX,
        "bfloat16",
        {"use_post_norm": False, "attention_multiplier": 0.1, "residual_multiplier": 0.5, "logits_scaling": 0.25, "attention_bias": True, "mlp_bias": True},
    ),
    "deepseek_v2": (
        DEEPSEEK_V2,
        "float32",
        {"q_lora_rank": None, **LATENTS, **EXPERTS, "v_head_dim": 12, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5},
    ),
    "deepseek_v2_latent_queries": (
        DEEPSEEK_V2,
        "bfloat16",
        rope("yarn", factor=4.0, original_max_position_embeddings=32, mscale=0.707, mscale_all_dim=0.707)
        | {"q_lora_rank": 40, **LATENTS, **EXPERTS, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2},
    ),
    "deepseek_v3_groups": (
        DEEPSEEK_V3,
        "float32",
        rope("yarn", factor=8.0, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=0.5, beta_fast=16)
        | {"q_lora_rank": 24, **LATENTS, **EXPERTS, "n_routed_experts": 8, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 2},
    ),
    "deepseek_v3_halves": (
        DEEPSEEK_V3,
        "bfloat16",
        {"q_lora_rank": None, **LATENTS, **EXPERTS, "v_head_dim": 24, "rope_interleave": False, "norm_topk_prob": False, "rms_norm_eps": 1e-2},
    ),
    "glm4_moe_lite": (
        GLM4_MOE_LITE,
        "float32",
        {"q_lora_rank": 24, **LATENTS, **EXPERTS, "v_head_dim": 24, "rms_norm_eps": 1e-2},
    ),
    "glm4_moe_lite_types": (
        GLM4_MOE_LITE,
        "bfloat16",
        {"q_lora_rank": 24, **LATENTS, **EXPERTS, "mlp_layer_types": ["sparse", "dense", "sparse", "sparse"] * 2},
    ),
    # Of a padding token transformers zeroes the embedding when it opens a Youtu.
    "youtu": (YOUTU, "float32", {"q_lora_rank": 24, **LATENTS, "tie_word_embeddings": True, "pad_token_id": None}),
    "minicpm3_factors": (
        MINICPM3,
        "float32",
        {"q_lora_rank": 24, **LATENTS, "scale_emb": 6, "scale_depth": 1.2, "dim_model_base": 16, "rms_norm_eps": 1e-2},
    ),
    "minicpm3_longrope": (
        MINICPM3,
        "bfloat16",
        rope(
            "longrope",
            short_factor=[1.0 + 0.1 * i for i in range(4)],
            long_factor=[2.0 + 0.5 * i for i in range(4)],
            original_max_position_embeddings=48,
        )
        | {"q_lora_rank": 24, **LATENTS, "scale_depth": None, "dim_model_base": None, "tie_word_embeddings": True},
    ),
    "qwen3_5_dense": (QWEN3_5, "float32", {**DELTA, "head_dim": 32, "tie_word_embeddings": True}),
    "qwen3_5_kinds": (
        QWEN3_5,
        "bfloat16",
        {
            **DELTA,
            "head_dim": 24,
            "attention_bias": True,
            "linear_conv_kernel_dim": 3,
            "linear_num_key_heads": 4,
            "rms_norm_eps": 1e-2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
            "layer_types": ["full_attention", "linear_attention", "linear_attention", "full_attention"] * 2,
        },
    ),
    "qwen3_5_moe_experts": (
        QWEN3_5_MOE,
        "float32",
        {**DELTA, "head_dim": 32, **SHARED_EXPERT},
    ),
    "qwen3_next_mixtures": (QWEN3_NEXT, "float32", {**DELTA, "head_dim": 32, **SHARED_EXPERT, "mlp_only_layers": [1]}),
    "qwen3_next_equal_heads": (
        QWEN3_NEXT,
        "bfloat16",
        {
            **DELTA,
            **SHARED_EXPERT,
            "head_dim": 24,
            "attention_bias": True,
            "linear_num_key_heads": 4,
            "linear_value_head_dim": 7,
            "norm_topk_prob": False,
            "tie_word_embeddings": True,
        },
    ),
    "granite4": (GRANITE4, "float32", {**GRANITE4_SIZES, "position_embedding_type": "rope", "attention_bias": True}),
    "granite4_no_rotation": (GRANITE4, "bfloat16", {**GRANITE4_SIZES, "tie_word_embeddings": True, "rms_norm_eps": 1e-2}),
    "qwen3_5_in_llama_cpp": (QWEN3_5, "float32", {**DELTA_IN_LLAMA_CPP, "tie_word_embeddings": True}),
    "qwen3_5_moe_in_llama_cpp": (QWEN3_5_MOE, "float32", {**DELTA_IN_LLAMA_CPP, **SHARED_EXPERT}),
    "qwen3_next_in_llama_cpp": (QWEN3_NEXT, "float32", {**DELTA_IN_LLAMA_CPP, **SHARED_EXPERT}),
    "deepseek_v3_in_llama_cpp": (
        DEEPSEEK_V3,
        "float32",
        rope("yarn", factor=8.0, original_max_position_embeddings=32, mscale=0.707, mscale_all_dim=0.707)
        | {
            "q_lora_rank": 24,
            **LATENTS,
            **EXPERTS,
            "v_head_dim": 12,
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "first_k_dense_replace": 2,
            "rms_norm_eps": 1e-6,
        },
    ),
    "glm4_moe_lite_in_llama_cpp": (
        GLM4_MOE_LITE,
        "float32",
        {"q_lora_rank": 24, **LATENTS, **EXPERTS, "v_head_dim": 24, "rms_norm_eps": 1e-6},
    ),
    "lfm2_convolutions": (LFM2, "float32", {"full_attn_idxs": [2, 4, 7], "intermediate_size": 160, "block_multiple_of": 32}),
    "lfm2_kinds": (
        LFM2,
        "bfloat16",
        {
            "layer_types": ["conv", "full_attention", "conv", "conv", "full_attention", "conv", "conv", "full_attention"],
            "block_auto_adjust_ff_dim": False,
            "conv_L_cache": 4,
            "norm_eps": 1e-2,
            "tie_word_embeddings": False,
        },
    ),
    "lfm2_moe": (
        LFM2_MOE,
        "float32",
        {**EXPERTS, "num_experts": 8, "num_dense_layers": 1, "layer_types": ["conv", "conv", "full_attention", "conv"] * 2},
    ),
    "lfm2_moe_kinds": (
        LFM2_MOE,
        "bfloat16",
        {
            **EXPERTS,
            "num_experts": 6,
            "num_dense_layers": 0,
            "layer_types": ["full_attention", "conv"] * 4,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.5,
        },
    ),
}


@torch.no_grad()
def fill(model, generator):
    """Random weights with outputs of ordinary size; layer k + 1 is layer k plus a fifth of noise.

    The weights of norms lie about what the norm's class begins with: 1, or 0 where the class adds 1 to them.
    """

    def noise(tensor, deviation):
        return torch.randn(tensor.shape, generator=generator) * deviation

    def fresh(name, tensor):
        if re.search(r"norm\d?\.weight$", name):
            return tensor.mean() + noise(tensor, 0.2)
        return noise(tensor, tensor.shape[-1] ** -0.5 if tensor.dim() > 1 else 0.1)

    layers = loaders.decoder_layers(model)
    inner = {id(tensor) for tensor in layers.parameters()}
    outside = [*loaders.language_model(model).named_parameters(), *model.get_output_embeddings().named_parameters("lm_head")]
    for name, tensor in outside:
        if id(tensor) not in inner:
            tensor.copy_(fresh(name, tensor))
    previous = {}
    for layer in layers:
        for name, tensor in layer.named_parameters():
            weight = fresh(name, tensor)
            before = previous.get(name, weight)
            tensor.copy_(before + 0.2 * (weight - before))
        previous |= dict(layer.named_parameters())
        for name, tensor in layer.named_buffers():
            if name.endswith(("correction_bias", "expert_bias")):
                tensor.copy_(noise(tensor, 0.2))


def tokens(vocabulary, lengths, generator):
    return [[1, *torch.randint(3, vocabulary, (n - 1,), generator=generator).tolist()] for n in lengths]


def write_tokens(folder, vocabulary, generator):
    """Token ids to prune and to measure on, beside the model."""
    sets = {"calib": tokens(vocabulary, (9, 12, 18, 25), generator), "eval": tokens(vocabulary, (5, 40, 61, 100), generator)}
    (folder / "tokens.json").write_text(json.dumps(sets))


def old_spelling(folder):
    """Rewrites the config as releases of transformers before 5 did, without the list of attention types."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **parameters}
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    file.write_text(json.dumps(config, indent=2))


def stacked_experts(folder):
    """Puts the matrices of all experts of a layer into one tensor each, as some checkpoints have them."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    experts = [re.fullmatch(r"(.*\.experts)\.(\d+)\.gate_proj\.weight", name) for name in tensors]
    for layer in {match[1] for match in experts if match}:
        count = sum(1 for match in experts if match and match[1] == layer)
        take = lambda i, part: tensors.pop(f"{layer}.{i}.{part}_proj.weight")
        tensors[f"{layer}.gate_up_proj"] = torch.stack([torch.cat([take(i, "gate"), take(i, "up")]) for i in range(count)])
        tensors[f"{layer}.down_proj"] = torch.stack([take(i, "down") for i in range(count)])
    save_file(tensors, file, metadata={"format": "pt"})


def make(folder, classes, dtype, changes, seed):
    config_class, model_class = classes
    generator = torch.Generator().manual_seed(seed)
    config = config_class(**SIZES | changes)
    model = model_class(config)
    fill(model, generator)
    model.to(getattr(torch, dtype)).save_pretrained(folder / "model")
    write_tokens(folder, config.vocab_size, generator)


def make_all(out):
    for seed, (name, (classes, dtype, changes)) in enumerate(FAMILIES.items()):
        make(out / name, classes, dtype, changes, seed)
    for name in ("llama_dynamic_ntk", "qwen2_window_from_the_middle"):
        classes, dtype, changes = FAMILIES[name]
        folder = out / f"{name}_old_spelling"
        make(folder, classes, dtype, changes, SEED)
        old_spelling(folder / "model")
    classes, dtype, changes = FAMILIES["qwen3_5_moe_experts"]
    make(out / "qwen3_5_moe_stacked", classes, dtype, changes, SEED)
    stacked_experts(out / "qwen3_5_moe_stacked" / "model")


if __name__ == "__main__":
    logging.disable_progress_bar()
    make_all(pathlib.Path(sys.argv[1]))

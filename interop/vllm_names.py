"""Holds the names of a checkpoint's tensors to those that vLLM's loader knows (vllm_names.json, which make_vllm_names.py writes)."""

import json
import math
import pathlib
import re

import checks
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

KNOWN = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
THROUGH_TRANSFORMERS = "transformers"  # vLLM loads these families with the code of transformers, whose names theirs are


def _modules(tensor, rules):
    """vLLM's names of the modules that a tensor of a checkpoint may go to, `*` for every index: its own, or one that it is a part of."""
    names = []
    for replaced in ("renamed", "stacked"):
        for old, new in rules[replaced].items():
            tensor = tensor.replace(old, new, 1)
        names.append(re.sub(r"\.\d+\.", ".*.", tensor.rpartition(".")[0]))
    return names


def _of_language_model(tensors, config, rules):
    """The tensors of the language model of a multimodal model by vLLM's names, and the rules of its class. vLLM has the others as they were."""
    begin, renamed = "language_model.", []
    for name in tensors:
        old, new = next(((old, new) for old, new in rules["begins"].items() if name.startswith(old)), ("", ""))
        renamed.append(new + name.removeprefix(old))
    if "language_model" not in rules:
        return [name for name in renamed if name.startswith((begin, "model.text_model.", "lm_head."))], rules
    of_text = rules["language_model"] or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["text_config"]["model_type"]]
    return [name.removeprefix(begin) for name in renamed if name.startswith(begin)], KNOWN["architectures"][of_text]


def check(what, folder, tensors):
    """vLLM raises an error for a tensor that it does not know. Returns whether it knows the architecture and all tensors."""
    config = json.loads((folder / "config.json").read_text())
    (architecture,) = config["architectures"]
    rules = KNOWN["architectures"].get(architecture)
    if rules in (None, THROUGH_TRANSFORMERS):
        return rules is not None
    if architecture.endswith("ForConditionalGeneration"):
        tensors, rules = _of_language_model(tensors, config, rules)
        checks.check(tensors, f"{what}: vLLM {KNOWN['vllm']} finds the language model")
    modules = {*rules["weights"], *rules["experts"], *(f"{path}.*.{matrix}" for path, matrices in rules["experts"].items() for matrix in matrices)}
    # Layers behind the last one are those of another class, which makes drafts.
    layers = [re.match(r"model\.layers\.(\d+)\.", name) for name in tensors]
    beyond = {name for name, layer in zip(tensors, layers) if layer and int(layer[1]) >= config.get("num_hidden_layers", math.inf)}
    unknown = [name for name in tensors if name not in beyond and modules.isdisjoint(_modules(name, rules))]
    return checks.check(not unknown, f"{what}: vLLM {KNOWN['vllm']} knows the names of all tensors", f"{unknown[:3]}")

"""Holds the names of a checkpoint's tensors to those that vLLM's loader knows (vllm_names.json, which make_vllm_names.py writes)."""

import json
import pathlib
import re

import checks

KNOWN = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
THROUGH_TRANSFORMERS = "transformers"  # vLLM loads these families with the code of transformers, whose names theirs are


def _module(tensor, rules):
    """vLLM's name of the module that a tensor of a checkpoint goes to, `*` for every index."""
    for replaced in ("renamed", "stacked"):
        for old, new in rules[replaced].items():
            tensor = tensor.replace(old, new, 1)
    return re.sub(r"\.\d+\.", ".*.", tensor.rpartition(".")[0])


def check(what, folder, tensors):
    """vLLM raises an error for a tensor that it does not know. Returns whether it knows the architecture and all tensors."""
    (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
    rules = KNOWN["architectures"].get(architecture)
    if rules in (None, THROUGH_TRANSFORMERS):
        return rules is not None
    modules = {*rules["weights"], *rules["experts"], *(f"{path}.*.{matrix}" for path, matrices in rules["experts"].items() for matrix in matrices)}
    unknown = [name for name in tensors if _module(name, rules) not in modules]
    return checks.check(not unknown, f"{what}: vLLM {KNOWN['vllm']} knows the names of all tensors", f"{unknown[:3]}")

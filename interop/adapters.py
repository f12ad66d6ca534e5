"""Holds the adapters that `laco heal --lora` writes for PEFT against the checkpoint that it writes beside them."""

import json

import checks
import engine
import torch
import transformers
from safetensors.torch import load_file

RANK, TOKENS = 4, 2048
DIFFERENT = 1e-4  # share of the elements that may be rounded the other way: sums of products differ in their last bits


def check(what, dense_folder, pruned_folder, work):
    """Trains adapters of a pruned model of one file of weights, merges them by hand, and compares."""
    work.mkdir(parents=True, exist_ok=True)
    healed, adapter = work / "healed", work / "adapter"
    options = ("--lora", RANK, "--adapter", adapter, "--heal-tokens", TOKENS, "--rate", 2e-3, "--overwrite")
    engine.laco("heal", pruned_folder, healed, "--teacher", dense_folder, *options, "--threads", engine.THREADS, "--json")
    config = json.loads((adapter / "adapter_config.json").read_text())
    factors = load_file(adapter / "adapter_model.safetensors")
    before, after = load_file(pruned_folder / "model.safetensors"), load_file(healed / "model.safetensors")
    modules = dict(transformers.AutoModelForCausalLM.from_pretrained(pruned_folder).named_modules())
    names = [name.removeprefix("base_model.model.").removesuffix(".lora_A.weight") for name in factors if name.endswith(".lora_A.weight")]
    checks.check(2 * len(names) == len(factors) and all(isinstance(modules[name], torch.nn.Linear) for name in names), f"{what}: {len(names)} adapters, each of a linear module of transformers")
    expected = {
        name
        for name, module in modules.items()
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in config["target_modules"] and int(name.split(".")[2]) in config["layers_to_transform"]
    }
    checks.check(expected == set(names), f"{what}: adapter_config.json names the modules that have adapters")
    different, elements = 0, 0
    for name in names:
        a, b = (factors[f"base_model.model.{name}.lora_{factor}.weight"].numpy() for factor in "AB")
        weight = f"{name}.weight"
        merged = before[weight].float().numpy() + config["lora_alpha"] / config["r"] * (b @ a)
        different += (torch.from_numpy(merged).to(after[weight].dtype) != after[weight]).sum().item()
        elements += merged.size
    checks.at_most(different / elements, DIFFERENT, f"{what}: the checkpoint has the weights with the adapters, share of others")
    others = [name for name in before if name.removesuffix(".weight") not in names]
    checks.check(all(torch.equal(before[name], after[name]) for name in others), f"{what}: all other tensors are the pruned model's")
    changed = sum(not torch.equal(before[f"{name}.weight"], after[f"{name}.weight"]) for name in names)
    checks.check(changed == len(names), f"{what}: the training changed every projection", f"{changed} of {len(names)}")

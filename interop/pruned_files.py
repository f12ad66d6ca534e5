"""Checks of a written checkpoint that need no model: its files against the plan and the original's."""

import json

import checks
import torch
from safetensors import safe_open

WRITTEN = {"config.json", "model.safetensors.index.json", "laco_plan.json"}
DEPTH_KEYS = {"num_hidden_layers", "layer_types", "max_window_layers"}
LAYER_PREFIX = "model.layers."


def read_tensors(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as shard:
            tensors.update({name: shard.get_tensor(name) for name in shard.keys()})
    return tensors


def group(part):
    """The plan's group of a tensor, by its name within the layer; biases go with the norms."""
    if part.endswith("proj.weight"):
        return "attention" if part.startswith("self_attn.") else "feedForward"
    return "norms"


def coefficients(mix, part):
    """Source layer → coefficient, ascending, for one tensor of a layer."""
    terms = mix.get(group(part), mix)
    return sorted((int(layer), c) for layer, c in terms.items())


def bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


def ordered_bits(tensor):
    """Integers that rise by one from each floating-point number to the next."""
    pattern = bits(tensor)
    magnitude = (pattern & torch.iinfo(pattern.dtype).max).to(torch.int64)
    return torch.where(pattern < 0, -magnitude, magnitude)


def check_tensors(what, original_folder, pruned_folder):
    """Copied tensors are the same bits; mixed ones are the float64 mix of the originals, rounded once.

    Returns whether a mix was rounded to 16 bits.
    """
    original, pruned = read_tensors(original_folder), read_tensors(pruned_folder)
    layers = json.loads((pruned_folder / "laco_plan.json").read_text())["layers"]
    sources = {name: [(name, 1.0)] for name in original if not name.startswith(LAYER_PREFIX)}
    for i, layer in enumerate(layers):
        base = f"{LAYER_PREFIX}{layer['base']}."
        for part in (n.removeprefix(base) for n in original if n.startswith(base)):
            terms = coefficients(layer["mix"], part)
            sources[f"{LAYER_PREFIX}{i}.{part}"] = [(f"{LAYER_PREFIX}{j}.{part}", c) for j, c in terms]
    if not checks.check(sources.keys() == pruned.keys(), f"{what}: tensor names", f"{sorted(sources.keys() ^ pruned.keys())[:3]}"):
        return False
    changed, copied, mixed, furthest, rounded = [], 0, 0, 0, False
    for name, terms in sources.items():
        if len(terms) == 1 and terms[0][1] == 1.0:
            copied += 1
            source = original[terms[0][0]]
            if source.dtype != pruned[name].dtype or not torch.equal(bits(source), bits(pruned[name])):
                changed.append(name)
        else:
            mixed += 1
            rounded |= pruned[name].element_size() == 2
            total = sum(c * original[source].double() for source, c in terms)
            distance = ordered_bits(total.to(original[terms[0][0]].dtype)) - ordered_bits(pruned[name])
            furthest = max(furthest, distance.abs().max().item())
    checks.check(not changed, f"{what}: {copied} copied tensors, same bits", f"{changed[:3]} differ")
    if mixed:
        checks.check(furthest <= 1, f"{what}: {mixed} mixed tensors, at most one unit in the last place ({furthest})")
    return rounded


def check_config(what, original_folder, pruned_folder, depth):
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (original_folder, pruned_folder))
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    checks.check(after["num_hidden_layers"] == depth, f"{what}: config has {depth} layers", str(after["num_hidden_layers"]))
    checks.check(different <= DEPTH_KEYS, f"{what}: config otherwise unchanged", f"{sorted(different - DEPTH_KEYS)}")


def check_companions(what, original_folder, pruned_folder):
    def companions(folder):
        files = (f for f in folder.iterdir() if f.name not in WRITTEN and f.suffix != ".safetensors")
        return {f.name: f.read_bytes() for f in files}

    before, after = companions(original_folder), companions(pruned_folder)
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    checks.check(not different, f"{what}: companion files copied", f"{different}")


def check_files(what, original_folder, pruned_folder, report):
    """Everything above. Returns whether a mix was rounded to 16 bits."""
    plan = json.loads((pruned_folder / "laco_plan.json").read_text())
    checks.check(plan == report["plan"], f"{what}: laco_plan.json is the report's plan")
    check_config(what, original_folder, pruned_folder, report["layersOut"])
    check_companions(what, original_folder, pruned_folder)
    return check_tensors(what, original_folder, pruned_folder)

"""Checks of a written checkpoint that need no model: its files against the plan and the original's."""

import hashlib
import json
import re

import checks
import hub_results
import torch
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.torch import save

INDEX = "model.safetensors.index.json"
CARD = "README.md"
WRITTEN = {"config.json", INDEX, "laco_plan.json", CARD}
TEXTS = {f"{name}.{ending}" for name in ("calibration", "evaluation", "fit") for ending in ("txt", "jsonl", "json")}
DEPTH_KEYS = {"num_hidden_layers", "layer_types", "full_attn_idxs", "max_window_layers", "no_rope_layers", "mlp_only_layers", "decoder_sparse_step"} | {
    "first_k_dense_replace",
    "num_dense_layers",
    "mlp_layer_types",
    "scale_depth",
    "moe_layer_start_index",
    "moe_layer_end_index",
}
# The name of a tensor of a layer: what stands before the number, the number, and what stands behind it. Encoders have layers, too.
LAYER = re.compile(r"((?!vision_|audio_|model\.vision_).+\.(?:layers|h)\.)(\d+)\.(.+)")
ATTENTION = ("self_attn.", "attention.", "self_attention.")


def read_tensors(*files):
    tensors = {}
    for file in files:
        with safe_open(file, framework="pt") as shard:
            tensors.update({name: shard.get_tensor(name) for name in shard.keys()})
    return tensors


def weight_files(folder):
    """What a loader reads: the files that the index names, where there is one."""
    index = folder / INDEX
    if index.exists():
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


def tensor_names(folder):
    names = []
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as shard:
            names += shard.keys()
    return names


def new_tensors(what, pruned_folder, plan):
    """Those that the plan names, among the weights beside it."""
    named = plan.get("tensors")
    if not named:
        return {}
    container = INDEX if (pruned_folder / INDEX).exists() else "model.safetensors"
    weights = read_tensors(*weight_files(pruned_folder))
    tensors = {name: weights[name] for name in named["names"]}
    digest = hashlib.sha256(save(tensors, metadata={"format": "pt"})).hexdigest()
    what = f"{what}: {len(tensors)} new tensors lie in {container}, with the plan's hash"
    checks.check(named["file"] == container and digest == named["sha256"], what, f"{named['file']} {digest}")
    return tensors


def group(part, tensor):
    """The plan's group of a tensor, by its name within the layer; vectors go with the norms."""
    if tensor.dim() > 1 and not part.endswith("norm.weight"):
        return "attention" if part.startswith(ATTENTION) else "feedForward"
    return "norms"


def coefficients(mix, part, tensor):
    """Source layer → coefficient, ascending, for one tensor of a layer."""
    terms = mix.get(group(part, tensor), mix)
    return sorted((int(layer), c) for layer, c in terms.items())


def bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


def same(a, b):
    return a.dtype == b.dtype and torch.equal(bits(a), bits(b))


def ordered_bits(tensor):
    """Integers that rise by one from each floating-point number to the next."""
    pattern = bits(tensor)
    magnitude = (pattern & torch.iinfo(pattern.dtype).max).to(torch.int64)
    return torch.where(pattern < 0, -magnitude, magnitude)


def check_tensors(what, original_folder, pruned_folder):
    """Copied tensors are the same bits; mixed ones are the float64 mix of the originals, rounded once; new ones the plan's.

    Returns whether a mix was rounded to 16 bits.
    """
    original, pruned = (read_tensors(*weight_files(folder)) for folder in (original_folder, pruned_folder))
    plan = json.loads((pruned_folder / "laco_plan.json").read_text())
    new = new_tensors(what, pruned_folder, plan)
    depth = language_config(original_folder)["num_hidden_layers"]
    sources = {}
    for name, tensor in original.items():
        layer = LAYER.fullmatch(name)
        if not layer:
            sources[name] = [(name, 1.0)]
            continue
        before, base, part = layer.groups()
        if int(base) >= depth:  # it predicts tokens beyond the next one, and stays behind the last layer
            sources[f"{before}{int(base) - depth + len(plan['layers'])}.{part}"] = [(name, 1.0)]
            continue
        for i, kept in enumerate(plan["layers"]):
            if kept["base"] == int(base):
                terms = coefficients(kept["mix"], part, tensor)
                sources[f"{before}{i}.{part}"] = [(f"{before}{j}.{part}", c) for j, c in terms]
    if not checks.check(sources.keys() == pruned.keys(), f"{what}: tensor names", f"{sorted(sources.keys() ^ pruned.keys())[:3]}"):
        return False
    changed, copied, mixed, furthest, rounded = [], 0, 0, 0, False
    for name, terms in sources.items():
        if name in new:
            if not same(new[name], pruned[name]):
                changed.append(name)
        elif len(terms) == 1 and terms[0][1] == 1.0:
            copied += 1
            if not same(original[terms[0][0]], pruned[name]):
                changed.append(name)
        else:
            mixed += 1
            rounded |= pruned[name].element_size() == 2
            total = sum(c * original[source].double() for source, c in terms)
            distance = ordered_bits(total.to(original[terms[0][0]].dtype)) - ordered_bits(pruned[name])
            furthest = max(furthest, distance.abs().max().item())
    checks.check(not changed, f"{what}: {copied} copied and {len(new)} new tensors, same bits", f"{changed[:3]} differ")
    if mixed:
        checks.check(furthest <= 1, f"{what}: {mixed} mixed tensors, at most one unit in the last place ({furthest})")
    return rounded


def language_config(folder):
    """A config, with the keys of `text_config` at its root, which has none of their names but those that every config has."""
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config", {})
    return {**{f"of the whole model: {key}": value for key, value in config.items() if key in text}, **config, **text}


def check_config(what, original_folder, pruned_folder, depth):
    before, after = (language_config(folder) for folder in (original_folder, pruned_folder))
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    checks.check(after["num_hidden_layers"] == depth, f"{what}: config has {depth} layers", str(after["num_hidden_layers"]))
    checks.check(different <= DEPTH_KEYS, f"{what}: config otherwise unchanged", f"{sorted(different - DEPTH_KEYS)}")


def check_companions(what, original_folder, pruned_folder):
    def companions(folder, written):
        files = (f for f in folder.iterdir() if f.name not in written and f.suffix != ".safetensors")
        return {f.name: f.read_bytes() for f in files}

    before, after = companions(original_folder, (WRITTEN - {CARD}) | TEXTS), companions(pruned_folder, WRITTEN)
    if CARD in before:
        before["README.original.md"] = before.pop(CARD)
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    checks.check(not different, f"{what}: companion files copied", f"{different}")


def check_files(what, original_folder, pruned_folder, report):
    """Everything above. Returns whether a mix was rounded to 16 bits."""
    plan = json.loads((pruned_folder / "laco_plan.json").read_text())
    checks.check(plan == report["plan"], f"{what}: laco_plan.json is the report's plan")
    check_config(what, original_folder, pruned_folder, report["layersOut"])
    check_companions(what, original_folder, pruned_folder)
    hub_results.check_card(what, pruned_folder, plan)
    return check_tensors(what, original_folder, pruned_folder)


def check_gguf(what, original, pruned, kept):
    """Every tensor of a GGUF file that was pruned by leaving layers out has the type and the bytes of the original's."""
    ours, theirs = ({t.name: t for t in GGUFReader(file).tensors} for file in (pruned, original))
    sources = {}
    for name in theirs:
        layer = re.fullmatch(r"blk\.(\d+)\.(.+)", name)
        if not layer:
            sources[name] = name
        elif int(layer[1]) in kept:
            sources[f"blk.{kept.index(int(layer[1]))}.{layer[2]}"] = name
    if checks.check(sources.keys() == ours.keys(), f"{what}: {len(ours)} tensor names", sorted(sources.keys() ^ ours.keys())[:3]):
        changed = [
            name
            for name, source in sources.items()
            if ours[name].tensor_type != theirs[source].tensor_type or ours[name].data.tobytes() != theirs[source].data.tobytes()
        ]
        checks.check(not changed, f"{what}: all tensors have their bytes", changed[:3])

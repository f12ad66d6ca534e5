"""Checkpoints in files of torch.save, which must give what the same weights in safetensors give."""

import filecmp
import json
import shutil

import checks
import engine
import torch
from transformers import AutoModelForCausalLM

SHARDS = 2


def _write(model, folder):
    """The state_dict as transformers reads and saves it, tied weights included, in shards with an index."""
    folder.mkdir()
    shutil.copy(model / "config.json", folder)
    state = AutoModelForCausalLM.from_pretrained(model, dtype="auto").state_dict()
    names, weight_map = list(state), {}
    for shard in range(SHARDS):
        file = f"pytorch_model-{shard + 1:05}-of-{SHARDS:05}.bin"
        part = {name: state[name] for name in names[shard::SHARDS]}
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def check(name, model, calibration, work):
    """Prunes both and compares every file that was written."""
    work.mkdir(parents=True)
    _write(model, work / "torch")
    options = ("--search=laco", "--target-ratio=25%", "--merge-layers=3", "--interval=1", "--rule=rdsc")
    for source, out in ((model, "expected"), (work / "torch", "found")):
        engine.prune(source, work / out, calibration, *options)
    names = sorted(path.name for path in (work / "expected").iterdir())
    same, other, unreadable = filecmp.cmpfiles(work / "expected", work / "found", names, shallow=False)
    checks.check(same == names and not other, f"{name}: pruned from files of torch.save as from safetensors", other + unreadable)

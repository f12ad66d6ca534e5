#!/usr/bin/env python3
"""The published algorithm of layer collapse (arXiv 2402.11187) in PyTorch, with the costs of the published code.

    python interop/laco_reference.py run MODEL --calibration tokens.json --merge-layers 3 --threshold 0.7 [--out OUT]
    python interop/laco_reference.py check          (against the stored runs of the published code)
    python interop/laco_reference.py record baichuan2_7b --merge-layers 3 --threshold 0.68     (a stored run of Eq. 1)

Float32 on the CPU; for every trial a deep copy of the current model, folded in place, and for every sentence a forward of the original
and one of the candidate, one sentence at a time. Nothing is cached and nothing is slowed down. `run` prints JSON: trials, seconds of wall
and CPU of the search. docs/method.md says how the two rules differ.
"""

import argparse
import copy
import json
import pathlib
import resource
import sys
import time

import checks
import remote_code
import torch
from transformers.utils import logging

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESOURCES = ROOT / "src/test/resources"
SMOLLM2 = ROOT / "build/SmolLM2-135M"

# The stored runs of SmolLM3 rotate queries and keys by a layer's new index; a layer here, and in the engine, keeps its rotation.
SIMILARITY_TOLERANCES = {"smollm3_std": 2e-3}
SIMILARITY_TOLERANCE = 1e-4


def matrices(layer):
    """What the published code merges: the projections. Norms and biases stay the base layer's."""
    return [p.data for part in (layer.self_attn, layer.mlp) for p in part.parameters() if p.dim() == 2]


def fold(model, base, followers, rule):
    """A copy of the model in which the layers after base are folded into it and removed."""
    candidate = copy.deepcopy(model)
    layers = candidate.model.layers
    targets, originals = matrices(layers[base]), matrices(model.model.layers[base])
    for follower in layers[base + 1 : base + 1 + followers]:
        for target, original, weight in zip(targets, originals, matrices(follower)):
            # Eq. 1 subtracts the base's weights; the published code subtracts the sum so far, so that the last follower stays.
            target.add_(weight - (original if rule == "rdsc" else target))
    del layers[base + 1 : base + 1 + followers]
    candidate.config.num_hidden_layers = len(layers)
    return candidate


@torch.no_grad()
def last_hidden(model, tokens):
    output = model(torch.tensor([tokens]), output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1].flatten()


def similarities(original, candidate, sentences):
    pairs = ((last_hidden(original, s), last_hidden(candidate, s)) for s in sentences)
    return [torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs]


def collapse(original, sentences, merge_layers, interval, lowest, highest, threshold, rule):
    """The published loop. Returns the collapsed model and every trial, as the engine reports them."""
    current, trials, base = original, [], highest - merge_layers
    while base >= lowest:
        depth = len(current.model.layers)
        followers = min(merge_layers - 1, depth - base - 1)
        candidate = fold(current, base, followers, rule)
        scores = similarities(original, candidate, sentences)
        mean = sum(scores) / len(scores)
        accepted = mean > threshold
        trials.append({"base": base, "merged": followers, "layersBefore": depth, "similarities": scores, "mean": mean, "accepted": accepted})
        print(f"base {base:3} merged {followers} of {depth}: {mean:.4f} {'accepted' if accepted else ''}", file=sys.stderr)
        if accepted:
            current = candidate
            base -= interval
            if base >= len(current.model.layers):
                base = len(current.model.layers) - 1 - merge_layers
        else:
            base -= 1
    return current, trials


def load(folder):
    return remote_code.load(folder).eval()


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def run(options):
    sentences = json.loads(options.calibration.read_text())
    original = load(options.model)
    highest = len(original.model.layers) if options.highest is None else options.highest
    wall, cpu = time.perf_counter(), cpu_seconds()
    current, trials = collapse(
        original, sentences, options.merge_layers, options.interval, options.lowest, highest, options.threshold, options.rule)
    timings = {"searchSeconds": time.perf_counter() - wall, "searchCpuSeconds": cpu_seconds() - cpu}
    if options.out:
        current.to(getattr(torch, options.dtype)).save_pretrained(options.out)
    print(json.dumps({"layersIn": len(original.model.layers), "layersOut": len(current.model.layers), "trials": trials, "timings": timings}))


def similarity_tolerance(name):
    """How far the similarities of a fixture's stored runs may be from others."""
    return SIMILARITY_TOLERANCES.get(name, SIMILARITY_TOLERANCE)


def check_one(name, folder, model_folder):
    expected = json.loads((folder / "expected.json").read_text())
    sentences = json.loads((folder / "tokens.json").read_text())["calib"]
    original = load(model_folder)
    for kind, settings in expected["runs"].items():
        names = ("mergeLayers", "interval", "lowest", "highest", "threshold", "rule")
        current, trials = collapse(original, sentences, *(settings[n] for n in names))
        checks.same_trials(trials, settings["trials"], similarity_tolerance(name), f"published algorithm, {name} {kind}")
        checks.check(len(current.model.layers) == settings["layersOut"], f"published algorithm, {name} {kind}: {settings['layersOut']} layers left")


def check_all(smollm2):
    for folder in sorted((RESOURCES / "fixtures").iterdir()):
        if (folder / "model").is_dir():
            check_one(folder.name, folder, folder / "model")
    check_one("storyteller", RESOURCES / "fixtures/storyteller", ROOT / "models/storyteller")
    if smollm2:
        check_one("SmolLM2", RESOURCES / "smollm2", SMOLLM2)


def check(options):
    check_all(options.smollm2)
    sys.exit(checks.summary())


def nll(model, sequences):
    """The mean over all tokens but the first of each sequence, and how many they are."""
    logits = [model(ids[None], use_cache=False).logits[0, :-1].double() for ids in sequences]
    losses = torch.cat([torch.nn.functional.cross_entropy(l, ids[1:], reduction="none") for l, ids in zip(logits, sequences)])
    return {"tokens_scored": len(losses), "mean_nll": losses.mean().item()}


@torch.no_grad()
def record(options):
    """Adds a run of Eq. 1 to the expectations of a fixture that has none."""
    folder = RESOURCES / "fixtures" / options.fixture
    file = folder / "expected.json"
    expected, tokens = json.loads(file.read_text()), json.loads((folder / "tokens.json").read_text())
    original = load(folder / "model")
    depth = len(original.model.layers)
    for index, layer in enumerate(original.model.layers):
        layer.original_index = index
    settings = {"mergeLayers": options.merge_layers, "lowest": 1, "highest": depth - 1, "interval": 1, "threshold": options.threshold, "rule": "rdsc"}
    names = ("mergeLayers", "interval", "lowest", "highest", "threshold", "rule")
    current, trials = collapse(original, tokens["calib"], *(settings[n] for n in names))
    pruned = {"float32": {"eval": nll(current, [torch.tensor(ids) for ids in tokens["eval"]])}}
    expected["runs"]["paper"] = settings | {
        "norms": "base",
        "computedIn": "torch.float32",
        "layersIn": depth,
        "layersOut": len(current.model.layers),
        "baseLayers": [layer.original_index for layer in current.model.layers],
        "trials": trials,
        "pruned": pruned,
    }
    file.write_text(json.dumps(expected, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run", help="collapse a model and print the trace")
    runs.add_argument("model")
    runs.add_argument("--calibration", type=pathlib.Path, required=True, help="JSON, a list of lists of token ids")
    runs.add_argument("--merge-layers", type=int, required=True)
    runs.add_argument("--interval", type=int, default=1)
    runs.add_argument("--lowest", type=int, default=1)
    runs.add_argument("--highest", type=int, help="an exclusive end; the depth where not given")
    runs.add_argument("--threshold", type=float, required=True)
    runs.add_argument("--rule", choices=("replace", "rdsc"), default="replace")
    runs.add_argument("--dtype", default="bfloat16", help="of the written checkpoint")
    runs.add_argument("--out", help="where to write the collapsed model")
    runs.set_defaults(action=run)
    check_command = commands.add_parser("check", help="hold this script against the stored runs of the published code")
    check_command.add_argument("--smollm2", action="store_true", help="SmolLM2 too (minutes); interop/make_smollm2.py makes it")
    check_command.set_defaults(action=check)
    recording = commands.add_parser("record", help="store a run of Eq. 1 with a fixture")
    recording.add_argument("fixture")
    recording.add_argument("--merge-layers", type=int, required=True)
    recording.add_argument("--threshold", type=float, required=True)
    recording.set_defaults(action=record)
    options = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    options.action(options)


if __name__ == "__main__":
    main()

"""Records the gradients that PyTorch's autograd computes by every tensor of pruned fixtures, in float64.

    build/interop-env/bin/python interop/make_gradients.py [NAME ...]        writes src/test/resources/fixtures/NAME/gradients.json

Of each fixture one layer is removed by `laco prune`. The loss is the mean divergence KL(original || pruned) of all tokens.
A file has the layers that are left, the token lists, the loss, and of the gradient by each trained tensor (as checkpoints name
them, of the layers behind the gap and the final norm) its norm and its sums under patterns of signs: the sign of element i in
pattern k is that of bit 40 of (i + 1) * (2654435761 + 2 k) in 64 bits. Left out are tensors whose parts are parameters of their own
in PyTorch (InternLM 2).
"""

import json
import pathlib
import re
import sys
import tempfile

import engine
import gradients
import numpy as np
import remote_code
from safetensors import safe_open

FIXTURES = engine.ROOT / "src/test/resources/fixtures"
LISTS, LENGTH, PATTERNS = 4, 8, 3


def _sums(gradient):
    values = gradient.detach().numpy().ravel()
    index = np.arange(1, values.size + 1, dtype=np.uint64)
    signs = [1.0 - 2.0 * ((index * np.uint64(2654435761 + 2 * k) >> np.uint64(40)) & np.uint64(1)) for k in range(PATTERNS)]
    return {"norm": float(np.linalg.norm(values)), "sums": [float(values @ sign) for sign in signs]}


EXPERTS = {"gate_up_proj": ("gate_proj|w1", "up_proj|w3"), "down_proj": ("down_proj|w2",)}


def _stored(key, gradient, known):
    """The gradient by a parameter, under the names of the checkpoint's tensors, in their shapes: transformers stacks those of experts, not transposed."""
    layer, _, rest = key.partition(".mlp.")
    roles = EXPERTS.get(rest.removeprefix("experts."))
    if key in known:
        yield key, gradient if list(gradient.shape) == known[key] else gradient.transpose(1, 2)
    elif rest == "gate.weight":
        yield _only(rf"{re.escape(layer)}\.\w+\.gate\.weight", known), gradient
    elif roles:
        for expert, of_expert in enumerate(gradient):
            for role, part in zip(roles, of_expert.chunk(len(roles)), strict=True):
                yield _only(rf"{re.escape(layer)}\.\w+\.experts\.{expert}\.({role})\.weight", known), part


def _only(pattern, names):
    (name,) = filter(re.compile(pattern).fullmatch, names)
    return name


def _loaded(folder):
    model = remote_code.load(folder).double()
    # The quicker ways of mixtures take no float64.
    model.config._experts_implementation = "eager"
    return model


def record(name, work):
    dense_folder = FIXTURES / name / "model"
    config = json.loads((dense_folder / "config.json").read_text())
    random = np.random.default_rng(7)
    text_config = config.get("text_config", config)
    lists = random.integers(3, text_config["vocab_size"], (LISTS, LENGTH)).tolist()
    text = work / f"{name}.json"
    text.write_text(json.dumps(lists))
    pruned_folder = work / name
    target = ("--rule", "drop", "--target-layers", text_config["num_hidden_layers"] - 1, "--samples", 0)
    report = engine.prune(dense_folder, pruned_folder, text, *target, "--eval-tokens", text)
    kept = report["layersKept"]
    first = next((i for i, layer in enumerate(kept) if layer != i), len(kept) - 1)
    dense, pruned = (_loaded(folder) for folder in (dense_folder, pruned_folder))
    loss = gradients.backward(dense, pruned, lists)
    files = [safe_open(file, "pt") for file in pruned_folder.glob("*.safetensors")]
    known = {name: file.get_slice(name).get_shape() for file in files for name in file.keys()}
    trained = {id(p) for p in gradients.trained(pruned, first)}
    found = {}
    for key, parameter in pruned.named_parameters():
        if id(parameter) in trained and parameter.grad is not None:
            found |= {name: _sums(gradient) for name, gradient in _stored(key, parameter.grad, known)}
    document = {"kept": kept, "first": first, "tokens": lists, "loss": loss, "tensors": dict(sorted(found.items()))}
    (FIXTURES / name / "gradients.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{name}: loss {loss:.6f}, {len(found)} tensors", file=sys.stderr)


def main():
    names = sys.argv[1:] or sorted(folder.name for folder in FIXTURES.iterdir() if (folder / "model/config.json").exists())
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            record(name, pathlib.Path(work))


if __name__ == "__main__":
    main()

"""Makes similarity.json of fixtures: how alike their layers are, by NumPy in float64.

    python interop/make_similarity.py src/test/resources/fixtures/llama_untied_gqa ...

Hidden states are those of the fixture's reference.safetensors (0.block_in.<j>, one sequence),
where they are there; weights are those of its checkpoint, in f32 or f16.
"""

import json
import pathlib
import sys

import numpy as np
from safetensors import safe_open

ROLES = {
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "output": "self_attn.o_proj.weight",
    "router": "mlp.gate.weight",
    "gate": "gate_proj.weight",
    "up": "up_proj.weight",
    "down": "down_proj.weight",
}


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def hsic(k, l):
    """The unbiased estimate of Song et al. (2012), eq. 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    one = np.ones(n)
    return (
        np.trace(k @ l)
        + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ l @ one)
    ) / (n * (n - 3))


def states(folder):
    found = []
    with safe_open(folder / "reference.safetensors", "np") as file:
        while f"0.block_in.{len(found)}" in file.keys():
            found.append(file.get_tensor(f"0.block_in.{len(found)}").astype(np.float64))
    found = [x.reshape(-1, x.shape[-1]) for x in found]
    kernels = [x @ x.T for x in found]

    def pairs(measure):
        return [[measure(i, j) for j in range(len(found))] for i in range(len(found))]

    def angle(i, j):
        return float(np.arccos(np.clip(cosine(found[i][-1], found[j][-1]), -1, 1)) / np.pi)

    return {
        "cosine": pairs(lambda i, j: float(np.mean([cosine(x, y) for x, y in zip(found[i], found[j])]))),
        "flattened": pairs(lambda i, j: cosine(found[i].ravel(), found[j].ravel())),
        "angular": pairs(angle),
        "cka": pairs(
            lambda i, j: float(
                hsic(kernels[i], kernels[j])
                / np.sqrt(hsic(kernels[i], kernels[i]) * hsic(kernels[j], kernels[j]))
            )
        ),
        "norms": [float(np.mean(np.linalg.norm(x, axis=1))) for x in found],
    }


def parameters(folder):
    layers = json.loads((folder / "model/config.json").read_text())["num_hidden_layers"]
    vectors = {role: [[] for _ in range(layers)] for role in ROLES}
    for path in sorted((folder / "model").glob("*.safetensors")):
        with safe_open(path, "np") as file:
            for name in sorted(file.keys()):
                for role, ending in ROLES.items():
                    if name.startswith("model.layers.") and name.endswith("." + ending):
                        vectors[role][int(name.split(".")[2])].append((name.split(".", 3)[3], file.get_tensor(name).astype(np.float64)))
    found = {}
    for role, tensors in vectors.items():
        if tensors[0]:
            flat = [np.concatenate([t.ravel() for _, t in sorted(layer, key=lambda x: x[0])]) for layer in tensors]
            found[role] = {
                "cosine": [[cosine(a, b) for b in flat] for a in flat],
                "distance": [
                    [float(np.linalg.norm(a - b) / np.sqrt((a @ a + b @ b) / 2)) for b in flat] for a in flat
                ],
            }
    return found


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else round(value, 9)


for argument in sys.argv[1:]:
    folder = pathlib.Path(argument)
    result = rounded({"states": states(folder), "parameters": parameters(folder)})
    if not result["states"]["norms"]:
        del result["states"]
    (folder / "similarity.json").write_text(json.dumps(result) + "\n")

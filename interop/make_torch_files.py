#!/usr/bin/env python3
"""Writes src/test/resources/torch: small files of torch.save, for tests that have no PyTorch.

    build/interop-env/bin/python interop/make_torch_files.py
"""

import collections
import pathlib
import warnings

import torch

FOLDER = pathlib.Path(__file__).parents[1] / "src/test/resources/torch"


def save(name, what, **options):
    torch.save(what, FOLDER / name, **options)


def weights():
    """Every type that is read, a tied weight, a parameter, a slice of a storage, a scalar, an empty tensor."""
    embed = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return collections.OrderedDict(
        embed=embed,
        head=embed,
        half=torch.arange(6, dtype=torch.float16).reshape(3, 2),
        norm=torch.nn.Parameter(torch.arange(4, dtype=torch.bfloat16)),
        slice=torch.arange(100, dtype=torch.float32)[10:20],
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        column=torch.arange(4, dtype=torch.float32).reshape(4, 1),
        mask=torch.tensor([True, False]),
        steps=torch.tensor([1, 2]),
        double=torch.tensor([1.5], dtype=torch.float64),
    )


def main():
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    for protocol in (2, 4, 5):
        save(f"weights{protocol}.bin", weights(), pickle_protocol=protocol)
    linear = torch.nn.Linear(2, 2)
    save("state_dict.bin", linear.state_dict())
    save("legacy.bin", linear.state_dict(), _use_new_zipfile_serialization=False)
    save("module.bin", linear)
    save("training.bin", {"state_dict": linear.state_dict(), "step": 3})
    whole = torch.arange(20, dtype=torch.float32)
    save("transposed.bin", {"a": whole.reshape(4, 5).t()})
    save("overlapping.bin", {"a": whole[:10], "b": whole[5:15]})
    save("float8.bin", {"a": torch.ones(2).to(torch.float8_e4m3fn)})
    save("complex.bin", {"a": torch.ones(2, dtype=torch.complex64)})
    save("sparse.bin", {"a": torch.eye(2).to_sparse()})
    save("list.bin", [torch.ones(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(linear, torch.ones(1, 2)), str(FOLDER / "script.bin"))
        save("quantised.bin", {"a": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)})


if __name__ == "__main__":
    main()

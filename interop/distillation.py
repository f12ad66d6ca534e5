#!/usr/bin/env python3
"""Distillation of a pruned model from its original in PyTorch, as `laco heal` does it: the opponent of bench/side_by_side.

    distillation.py PRUNED ORIGINAL LISTS.json [--tokens 8192] [--step-tokens 1024] [--rate 1e-4] [--threads 2] [--dtype bfloat16]

Layers from the first one that differs from the original's on, and the final norm, are trained by AdamW on the divergence of the
original's predictions; layers in front run without gradients. Weights are float32, and products bfloat16 where --dtype says so.
Prints JSON with the loss of each step.
"""

import argparse
import json
import pathlib

import torch
import transformers


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()


def first_changed(pruned, original):
    """The first layer of a pruned model that is not the original's of the same number."""
    for index, (ours, theirs) in enumerate(zip(pruned.model.layers, original.model.layers)):
        if any(not torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters())):
            return index
    return len(pruned.model.layers)


def parts(lists, tokens):
    """Lists together that have at most so many tokens."""
    part = []
    for ids in lists:
        if part and sum(map(len, part)) + len(ids) > tokens:
            yield part
            part = []
        part.append(ids)
    if part:
        yield part


def divergence(original, pruned, ids):
    """The sum over all tokens."""
    with torch.no_grad():
        expected = torch.log_softmax(original(ids, use_cache=False).logits.float(), dim=-1)
    found = torch.log_softmax(pruned(ids, use_cache=False).logits.float(), dim=-1)
    return torch.nn.functional.kl_div(found, expected, reduction="sum", log_target=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pruned", type=pathlib.Path)
    parser.add_argument("original", type=pathlib.Path)
    parser.add_argument("lists", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--step-tokens", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    original, pruned = load(options.original), load(options.pruned)
    first = first_changed(pruned, original)
    pruned.requires_grad_(False)
    trained = [*pruned.model.layers[first:].parameters(), *pruned.model.norm.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=options.rate, betas=(0.9, 0.95), weight_decay=0, fused=True)
    losses, count = [], 0
    for part in parts(json.loads(options.lists.read_text()), options.step_tokens):
        if count >= options.tokens:
            break
        ids = torch.tensor(part)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16"):
            loss = divergence(original, pruned, ids) / ids.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        count += ids.numel()
    print(json.dumps({"tokens": count, "firstLayer": first, "losses": losses}))


if __name__ == "__main__":
    main()

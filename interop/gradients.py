"""Holds the gradients of `laco heal` against PyTorch's autograd on the models that transformers opens.

A heal of one step over a whole text tells the loss and the norm of all gradients before the step.
"""

import json

import checks
import engine
import loaders
import torch

CHUNKS, LENGTH, HELD_OUT = 9, 16, 7  # of each eight token lists the last is held out
TOLERANCE = 1e-4
LABELS = 0.25  # share of the loss that is the language model's own


def _final_norm(model):
    """The parameters of the norm behind the last layer: those outside layers that are vectors."""
    inside = {id(p) for p in loaders.decoder_layers(model).parameters()}
    return [p for p in model.parameters() if id(p) not in inside and p.dim() == 1]


def trained(model, first):
    """The parameters of the layers from `first` on, and of the final norm."""
    return [*loaders.decoder_layers(model)[first:].parameters(), *_final_norm(model)]


def backward(dense, pruned, sequences, labels=0.0):
    """Leaves the gradients of the mean loss of all tokens, and returns that loss.

    It is the divergence of the dense model from the pruned one, and by a share of `labels` the negative log-likelihood of the next
    token, which the last token of a sequence has none of.
    """
    pruned.zero_grad()
    total, count = 0.0, sum(map(len, sequences))
    for tokens in sequences:
        ids = torch.tensor([tokens])
        with torch.no_grad():
            expected = torch.log_softmax(dense(ids, use_cache=False).logits[0].double(), dim=-1)
        found = torch.log_softmax(pruned(ids, use_cache=False).logits[0].double(), dim=-1)
        divergence = (expected.exp() * (expected - found)).sum()
        likelihood = found[:-1].gather(1, ids[0, 1:, None]).sum()
        loss = ((1 - labels) * divergence - labels * likelihood) / count
        loss.backward()
        total += loss.item()
    return total


def _autograd(dense, pruned, sequences, first):
    """The loss and the norm of its gradients, as PyTorch computes them."""
    loss = backward(dense, pruned, sequences, LABELS)
    squares = sum(p.grad.double().square().sum().item() for p in trained(pruned, first) if p.grad is not None)
    pruned.zero_grad()
    return loss, squares**0.5


def check(what, dense_folder, dense, pruned_folder, pruned, sequences, work):
    """Compares loss and norm of the gradients of one step over `sequences`."""
    work.mkdir(parents=True, exist_ok=True)
    lists = [sequences[i % len(sequences)][:LENGTH] for i in range(CHUNKS)]
    text = work / "heal.json"
    text.write_text(json.dumps(lists))
    learnt = [tokens for i, tokens in enumerate(lists) if i % (HELD_OUT + 1) != HELD_OUT]
    count = sum(map(len, learnt))
    options = ("--heal-text", text, "--eval-tokens", text, "--heal-tokens", count, "--step-tokens", count, "--rate", 1e-9)
    common = ("--label-share", LABELS, "--overwrite", "--compute", "f32", "--threads", engine.THREADS, "--json")
    report = json.loads(engine.laco("heal", pruned_folder, work / "healed", "--teacher", dense_folder, *options, *common))
    loss, norm = _autograd(dense, pruned, learnt, report["training"]["firstLayer"])
    (step,) = report["training"]["losses"]
    checks.at_most(abs(step["loss"] / loss - 1), TOLERANCE, f"{what}: loss of a step of heal as in PyTorch")
    checks.at_most(abs(step["gradientNorm"] / norm - 1), TOLERANCE, f"{what}: norm of its gradients as by autograd")

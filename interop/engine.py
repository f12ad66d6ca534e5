"""Calls the engine as a user does, by its command line."""

import json
import pathlib
import subprocess

from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parent.parent
THREADS = 2


class EngineError(Exception):
    """The engine ended with another exit code than 0."""


def laco(*arguments):
    """Standard output of `./laco ARGUMENTS`."""
    command = [str(ROOT / "laco"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        said = result.stderr.strip().splitlines()
        reason = next((line for line in said if line.startswith("laco: ")), "no reason on stderr")
        raise EngineError(f"`laco {' '.join(map(str, arguments))}` ended with {result.returncode}: {reason}")
    return result.stdout


def prune(model, out, calibration, *options):
    """The report of a run in the parity mode."""
    common = ("--calibration", calibration, "--compute", "f32", "--threads", THREADS, "--json")
    return json.loads(laco("prune", model, out, *common, *options))


def evaluate(model, tokens, dump):
    """What `eval` measures on lists of token ids; hidden states and logits go to the file `dump`."""
    common = ("--compute", "f32", "--threads", THREADS, "--json")
    return json.loads(laco("eval", model, "--tokens", tokens, "--dump", dump, *common))


def token_ids(model, text, dump):
    """The ids of a text file, in one window."""
    laco("eval", model, "--text", text, "--max-length", 8192, "--dump", dump, "--compute", "f32", "--threads", THREADS, "--json")
    with safe_open(dump, framework="pt") as tensors:
        return tensors.get_tensor("0.tokens").int().tolist()


def generate(model, prompt, tokens):
    """Greedy text."""
    greedy = ("--temperature", 0, "--compute", "f32", "--threads", THREADS, "--quiet")
    return laco("generate", model, "--prompt", prompt, "--max-tokens", tokens, *greedy)

"""Calls the engine by its command line, as a user does, but every command in one process."""

import atexit
import json
import pathlib
import subprocess

from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "interop/commands"
THREADS = 1

_process = None


class EngineError(Exception):
    """The engine ended with another exit code than 0."""


def laco(*arguments):
    """Standard output of `laco ARGUMENTS`."""
    return answer(*arguments)["out"]


def answer(*arguments):
    """What `laco ARGUMENTS` prints to standard output (`out`) and to standard error (`err`)."""
    global _process
    if _process is None:
        _process = subprocess.Popen([COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(_process.communicate)  # ends its input, and waits for it
    words = [*map(str, arguments)]
    print(json.dumps(words), file=_process.stdin, flush=True)
    line = _process.stdout.readline()
    if not line:
        raise EngineError(f"the engine's process ended at `laco {' '.join(words)}`")
    result = json.loads(line)
    if result["code"] != 0:
        said = [line for line in result["err"].splitlines() if line.startswith("laco: ") and not line.startswith("laco: warning: ")]
        reason = said[0] if said else "no reason on stderr"
        raise EngineError(f"`laco {' '.join(words)}` ended with {result['code']}: {reason}")
    return result


def prune(model, out, calibration, *options):
    """The report of a run in the parity mode."""
    common = ("--calibration", calibration, "--compute", "f32", "--threads", THREADS, "--json")
    return json.loads(laco("prune", model, out, *common, *options))


def evaluate(model, tokens, dump):
    """What `eval` measures on lists of token ids; hidden states and logits go to the file `dump`."""
    common = ("--compute", "f32", "--threads", THREADS, "--json")
    return json.loads(laco("eval", model, "--tokens", tokens, "--dump", dump, *common))


def export(model, out):
    """Writes the GGUF file of a model, all values in float32. Returns the warnings."""
    return answer("export", model, out, "--dtype", "f32", "--overwrite", "--quiet")["err"]


def token_ids(model, text, dump):
    """The ids of a text file, in one window."""
    laco("eval", model, "--text", text, "--max-length", 8192, "--dump", dump, "--compute", "f32", "--threads", THREADS, "--json")
    with safe_open(dump, framework="pt") as tensors:
        return tensors.get_tensor("0.tokens").int().tolist()


def generate(model, prompt, tokens):
    """Greedy text."""
    greedy = ("--temperature", 0, "--compute", "f32", "--threads", THREADS, "--quiet")
    return laco("generate", model, "--prompt", prompt, "--max-tokens", tokens, *greedy)

"""Computes probabilities with jlama, in a process of its own."""

import atexit
import json
import os
import pathlib
import shutil
import subprocess

import engine
import numpy as np

LIBRARIES = engine.ROOT / "build/interop-env/jlama"
TOKENIZER = engine.ROOT / "models/storyteller"  # any serves: jlama gets token ids
SOURCE = engine.ROOT / "interop/Jlama.java"
# Of its two implementations of products the one in Java: the native one, on processors with AVX-512, gives other values on every model.
OPTIONS = ("-Djlama.force_panama_tensor_operations=true", "--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED")

_process = None


def next_token(folder, sequences):
    """Probabilities of the token behind each sequence, [vocabulary] each. Adds a tokenizer to the folder, which jlama asks for."""
    global _process
    if _process is None:
        java = pathlib.Path(os.environ["JAVA_HOME"]) / "bin/java"
        command = [java, *OPTIONS, "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{LIBRARIES}/*", SOURCE]
        _process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        atexit.register(_process.communicate)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    print(json.dumps({"model": str(folder.resolve()), "sequences": sequences}), file=_process.stdin, flush=True)
    return [np.array(probabilities) for probabilities in json.loads(_process.stdout.readline())]

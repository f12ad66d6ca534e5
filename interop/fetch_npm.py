#!/usr/bin/env python3
"""Fetches two packages of the npm registry, which need no Node.js here.

    python interop/fetch_npm.py FOLDER

llama.cpp goes to FOLDER/llama.cpp: the prebuilt library of node-llama-cpp, with a backend for every kind of x86-64
processor. axe-core, which looks for what readers with disabilities cannot use in a page, goes to FOLDER/axe-core.
"""

import fnmatch
import hashlib
import io
import pathlib
import sys
import tarfile
import urllib.request

REGISTRY = "https://registry.npmjs.org"
# Folder: path of the archive, its sha256, the files in it.
PACKAGES = {
    "llama.cpp": (
        "@node-llama-cpp/linux-x64/-/linux-x64-3.22.1.tgz",
        "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0",
        "package/bins/linux-x64/lib*.so",
    ),
    "axe-core": (
        "axe-core/-/axe-core-4.14.1.tgz",
        "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        "package/axe.min.js",
    ),
}


def fetch(folder, path, digest, files):
    with urllib.request.urlopen(f"{REGISTRY}/{path}", timeout=60) as response:
        data = response.read()
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit(f"interop: {REGISTRY}/{path} does not have the sha256 {digest}")
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if fnmatch.fnmatch(member.name, files):
                (folder / pathlib.PurePath(member.name).name).write_bytes(archive.extractfile(member).read())


if __name__ == "__main__":
    for name, package in PACKAGES.items():
        fetch(pathlib.Path(sys.argv[1], name), *package)

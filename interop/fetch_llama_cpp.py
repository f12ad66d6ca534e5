#!/usr/bin/env python3
"""Fetches llama.cpp as a prebuilt library, with a backend for every kind of x86-64 processor.

    python interop/fetch_llama_cpp.py FOLDER

It comes from the npm registry, where node-llama-cpp publishes it, and needs no Node.js.
"""

import fnmatch
import hashlib
import io
import pathlib
import sys
import tarfile
import urllib.request

VERSION = "3.22.1"
ARCHIVE = f"https://registry.npmjs.org/@node-llama-cpp/linux-x64/-/linux-x64-{VERSION}.tgz"
DIGEST = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
LIBRARIES = "package/bins/linux-x64/lib*.so"


def main(folder):
    with urllib.request.urlopen(ARCHIVE, timeout=60) as response:
        data = response.read()
    if hashlib.sha256(data).hexdigest() != DIGEST:
        sys.exit(f"interop: {ARCHIVE} does not have the sha256 {DIGEST}")
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if fnmatch.fnmatch(member.name, LIBRARIES):
                (folder / pathlib.PurePath(member.name).name).write_bytes(archive.extractfile(member).read())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

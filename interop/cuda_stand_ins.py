#!/usr/bin/env python3
"""Lets the PyPI wheel of PyTorch start on a machine without the CUDA libraries that it is linked against.

    python cuda_stand_ins.py SITE_PACKAGES

The loader asks for files (libcublas.so.13, …), for version names in them, and for functions. This script reads what is
asked for and not there, and builds one library that has all of it; every missing file is a link to it. The
functions trap: nothing on a CPU calls them. Needs readelf and gcc.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Libraries without symbol versions: their functions are known by name only.
UNVERSIONED = re.compile(r"(cuFile|cusparseLt|nccl)\w+")
OURS = "libcuda_stand_ins.so"


def read_elf(library, *options):
    command = ["readelf", "--wide", *options, str(library)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library):
    return set(re.findall(r"\(NEEDED\).*\[(.+)]", read_elf(library, "--dynamic")))


def needed_versions(library):
    """Pairs (file, version name) that the loader looks up before anything else, whether or not a symbol uses them."""
    file = ""
    for word, name in re.findall(r"(File|Name): (\S+)", read_elf(library, "--version-info")):
        if word == "File":
            file = name
        else:
            yield file, name


def undefined(library):
    """Pairs (symbol, version) that the library takes from others; the version is empty where none is named."""
    for line in read_elf(library, "--dyn-syms").splitlines():
        fields = line.split()
        if len(fields) > 7 and fields[4] == "GLOBAL" and fields[6] == "UND":
            symbol, _, version = fields[7].partition("@")
            yield symbol, version.lstrip("@")


def missing_files(libraries):
    """CUDA libraries that no package brought. libcuda, the driver, is opened only when a GPU is used."""
    cuda = re.compile(r"lib(cu|nccl|nvrtc|nvshmem|nvToolsExt|nvJitLink).*")
    present = {library.name for library in libraries}
    return sorted(n for n in set().union(*map(needed, libraries)) - present if cuda.match(n) and not n.startswith("libcuda."))


def build(target, symbols_of_version):
    with tempfile.TemporaryDirectory() as folder:
        source, script = pathlib.Path(folder, "stand_ins.c"), pathlib.Path(folder, "versions.map")
        names = sorted(set().union(*symbols_of_version.values()))
        source.write_text("".join(f"void {n}(void) {{ __builtin_trap(); }}\n" for n in names))
        script.write_text(
            "".join(f"{v} {{ {''.join(f'{n}; ' for n in sorted(symbols))}}};\n" for v, symbols in symbols_of_version.items()))
        subprocess.run(
            ["gcc", "-w", "-fno-builtin", "-shared", "-fPIC", "-o", target, source, f"-Wl,-soname,{OURS}", f"-Wl,--version-script,{script}"],
            check=True)


def main(site_packages):
    torch_lib = pathlib.Path(site_packages, "torch", "lib")
    torch_libraries = [p for p in torch_lib.glob("*.so*") if p.name != OURS and not p.is_symlink()]
    libraries = torch_libraries + list(pathlib.Path(site_packages, "nvidia").glob("**/*.so*"))
    missing = missing_files(libraries)
    symbols_of_version = {"UNVERSIONED": set()}
    for library in torch_libraries:
        symbols_of_version.update({version: set() for file, version in needed_versions(library) if file in missing})
    for library in torch_libraries:
        for symbol, version in undefined(library):
            if version in symbols_of_version:
                symbols_of_version[version].add(symbol)
            elif not version and UNVERSIONED.fullmatch(symbol):
                symbols_of_version["UNVERSIONED"].add(symbol)
    build(torch_lib / OURS, symbols_of_version)
    for name in missing:
        link = torch_lib / name
        link.unlink(missing_ok=True)
        os.symlink(OURS, link)
    print(f"stand-ins for {', '.join(missing)}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])

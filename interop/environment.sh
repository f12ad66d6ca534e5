#!/usr/bin/env bash
# Makes the pinned environment of the interoperability checks in build/interop-env (1.9 GB, under a minute): packages of
# Python, llama.cpp, jlama and axe-core. Prints the path of its Python. Does nothing when it already stands. Needs Python 3.11 to
# 3.14, gcc, Chromium and a JDK.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/toolchain.sh
require_toolchain

say() { echo "interop: $*" >&2; }

missing=()
python3 -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || missing+=(python3 python3-venv)
command -v gcc >/dev/null && command -v readelf >/dev/null || missing+=(gcc binutils libc6-dev)
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
if ((${#missing[@]})); then
  install="apt-get install --yes --no-install-recommends ${missing[*]} ca-certificates"
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    say "needs Python 3.11 to 3.14 with venv, gcc, readelf and Chromium; on Debian: sudo $install"
    exit 1
  fi
  say "installs ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive $install; } >/dev/null
fi

environment=build/interop-env
python=$PWD/$environment/bin/python
wanted=$(python3 --version && cat interop/{requirements.txt,cuda_stand_ins.py,fetch_npm.py,jlama.xml} | sha256sum)
if [[ $(cat $environment/made-from 2>/dev/null) != "$wanted" ]]; then
  say "makes $environment (PyTorch, transformers, llama.cpp, jlama, Playwright)"
  rm -rf $environment
  python3 -m venv $environment
  "$python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
    --require-hashes --only-binary :all: --requirement interop/requirements.txt
  "$python" interop/cuda_stand_ins.py "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  "$python" interop/fetch_npm.py $environment
  run_maven --quiet --strict-checksums --file interop/jlama.xml "-DoutputDirectory=$PWD/$environment/jlama" \
    org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies >&2
  echo "$wanted" >$environment/made-from
fi
echo "$python"

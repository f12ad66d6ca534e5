#!/usr/bin/env python3
"""Makes texts of two domains on which pruned models are judged: modern prose, and source code.

    python3 interop/make_domain_texts.py FOLDER        writes FOLDER/prose.jsonl and FOLDER/code.jsonl

Both come from packages of PyPI and are never committed. The prose is news and magazine articles (test data of newspaper4k; their
publishers hold the rights). The code is Python and JavaScript of Django 5.2 (BSD). Every line is a document of at most 9,000
characters, {"text": ...}. No text that weights are fitted on has a part of either. Needs pip alone.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGES = (
    "newspaper4k==0.9.6 --hash=sha256:a3f2f0e017dddb6f1019ee77aaa8980e13e6ecea0b949abc7167aae4770d2d0e",
    "Django==5.2 --hash=sha256:91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
)
CHARACTERS = 9_000
PROSE = (
    "article_with_br",
    "cnn_001",
    "cnn_002",
    "cnn_article",
    "cnn_test_nlp",
    "fox13now_001",
    "time_001",
    "video_article_02",
    "wired_001",
    "yna_co_kr",
)
CODE = (
    "django/apps/registry.py",
    "django/contrib/admin/static/admin/js/SelectFilter2.js",
    "django/contrib/admin/static/admin/js/calendar.js",
    "django/contrib/admin/static/admin/js/inlines.js",
    "django/contrib/auth/hashers.py",
    "django/contrib/gis/measure.py",
    "django/contrib/sessions/backends/base.py",
    "django/core/cache/backends/base.py",
    "django/core/mail/message.py",
    "django/db/transaction.py",
)


def download(folder):
    """The two archives: of newspaper4k with its test data, and of Django."""
    requirements = folder / "requirements.txt"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    for package, form in zip(PACKAGES, ("--no-binary", "--only-binary"), strict=True):
        requirements.write_text(package + "\n")
        subprocess.run([*pip, "--require-hashes", form, ":all:", "--dest", folder, "--requirement", requirements], check=True)
    return next(folder.glob("newspaper4k-*.tar.gz")), next(folder.glob("*jango-*.whl"))


def write(file, texts):
    with file.open("w", encoding="utf-8") as out:
        for text in texts:
            print(json.dumps({"text": text[:CHARACTERS]}, ensure_ascii=False), file=out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        articles, django = download(pathlib.Path(name))
        with tarfile.open(articles) as archive:
            root = articles.name.removesuffix(".tar.gz") + "/tests/data/txt/"
            write(folder / "prose.jsonl", [archive.extractfile(f"{root}{article}.txt").read().decode() for article in PROSE])
        with zipfile.ZipFile(django) as archive:
            write(folder / "code.jsonl", [archive.read(source).decode() for source in CODE])


if __name__ == "__main__":
    main()

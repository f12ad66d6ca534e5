"""What the table of README.md claims of loaders, against what ran."""

import json
import pathlib
import re

import checks

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"
ROW = re.compile(r"^\| `\w+` \| `(\w+)` \|(?:[^|]*\|){2} ([^|]*) \|", re.MULTILINE)

_opened = {}


def opened(folder, loader, holds):
    """Notes that a loader opened a checkpoint, and that what it computed or knew of it was right."""
    if holds:
        model_type = json.loads((folder / "config.json").read_text())["model_type"]
        _opened.setdefault(model_type, set()).add(loader)


def check():
    """Each loader that the table names for a family has opened a model of the family, and the table names each that has."""
    claims = {model_type: set(loaders.split(", ")) for model_type, loaders in ROW.findall(README.read_text())}
    for model_type in [*claims, *sorted(_opened.keys() - claims.keys())]:
        claimed, ran = claims.get(model_type, set()), _opened.get(model_type, set())
        checks.check(claimed == ran, f"{model_type}: opened by {', '.join(sorted(ran))}, as README.md says", f"README.md says {sorted(claimed)}")

#!/usr/bin/env python3
"""Writes vllm_names.json: for each architecture, the names of tensors that vLLM loads, read from the source text in its wheel.

    python interop/make_vllm_names.py

The wheel (336 MB) is fetched from PyPI; nothing of it is run or installed. A module of vLLM is an attribute that `__init__` of a class
assigns: a layer with weights, or another class of vLLM's models. `stacked` and `renamed` are what its loader replaces in the names of a
checkpoint, in this order: renamed first; `begins` what it replaces at their begin. A layer has the index `*`, an expert has the index `*` and one of the names of its matrices.
"""

import ast
import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

VERSION = "0.33.0"
DIGEST = "4b6bdec4ab269990bf70d45a3c1e94c3760a27064513760193b26d6f0da883aa"
MODELS = "vllm/model_executor/models/"
READ = (MODELS, "vllm/model_executor/layers/mamba/gdn/", "vllm/model_executor/layers/mamba/short_conv")  # where classes are read
OUT = pathlib.Path(__file__).resolve().parent / "vllm_names.json"
ROOT = OUT.parent.parent

WEIGHTS = re.compile(r"\w*(Linear|RMSNorm(TP|Gated)?|LayerNorm|Embedding|LMHead)")
PROJECTIONS = re.compile(r"create_\w+_proj")  # methods that make one
PARAMETERS = re.compile(r"Parameter|make_attention_sink")  # of the class itself
EXPERTS = re.compile(r"FusedMoE\w*")
MATRICES_OF_EXPERTS = ("gate_proj", "down_proj", "up_proj")


def download(folder):
    """The wheel of the pinned version."""
    requirements = pathlib.Path(folder, "requirements.txt")
    requirements.write_text(f"vllm=={VERSION} --hash=sha256:{DIGEST}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps", "--only-binary", ":all:"]
    platform = ["--platform", "manylinux_2_28_x86_64"]
    subprocess.run([*pip, *platform, "--require-hashes", "--dest", folder, "--requirement", requirements], check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    return wheel


class Source:
    """The classes of vLLM's models, as syntax trees."""

    def __init__(self, wheel):
        self.archive = zipfile.ZipFile(wheel)

    @functools.cache
    def module(self, name):
        """Class definitions by name, and module and own name of each imported name. Modules have the names of their files."""
        tree = ast.parse(self.archive.read(f"{name}.py"))
        classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        imports = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                path = node.module.replace(".", "/")
                path = f"{name.rpartition('/')[0]}/{path}" if node.level == 1 else path
                if path.startswith(READ):
                    imports |= {alias.asname or alias.name: (path, alias.name) for alias in node.names}
        return classes, imports

    @functools.cache
    def tables(self, name):
        """The classes that each dictionary of a module has as values, by the name of the dictionary."""
        found = {}
        for node in ast.parse(self.archive.read(f"{name}.py")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = [value.id for value in node.value.values if isinstance(value, ast.Name)]
        return found

    def find(self, module, name):
        """The module and the definition of a class that a module defines or imports, or None."""
        classes, imports = self.module(module)
        if name in classes:
            return module, classes[name]
        if name in imports and f"{imports[name][0]}.py" in self.archive.namelist():
            return self.find(*imports[name])
        return None

    def lineage(self, module, name):
        """A class and those of vLLM's models that it extends, in the order in which Python looks things up."""
        found = self.find(module, name)
        if not found:
            return []
        own = [found]
        for base in found[1].bases:
            if isinstance(base, ast.Name):
                own += self.lineage(found[0], base.id)
        return own

    def registered(self):
        """Module and class of each architecture."""
        tree = ast.parse(self.archive.read(f"{MODELS}registry.py"))
        entries = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                        module, own = ast.literal_eval(value)
                        entries.setdefault(key.value, (MODELS + module, own))
        return entries


def method(definition, name):
    return next((node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def defaults(function):
    """Parameters whose default is a name, and parameters and variables that are `x or NAME`, with the name."""
    parameters = function.args
    pairs = [*zip(parameters.args[::-1], parameters.defaults[::-1]), *zip(parameters.kwonlyargs, parameters.kw_defaults)]
    found = [(p.arg, d.id) for p, d in pairs if isinstance(d, ast.Name)]
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BoolOp) and isinstance(node.value.values[-1], ast.Name):
            found += [(target.id, node.value.values[-1].id) for target in node.targets if isinstance(target, ast.Name)]
    return found


def attributes(definition):
    """Attributes of a class that are names, with the name."""
    assigned = [node for node in definition.body if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Name)]
    return [((node.targets[0] if isinstance(node, ast.Assign) else node.target).id, node.value.id) for node in assigned]


def choices(function, tables):
    """Variables that a function assigns one of several names to, or a value of a dictionary of them, with all of these."""
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names = found.setdefault(node.targets[0].id, [])
            if isinstance(node.value, ast.Name):
                names.append(node.value.id)
            elif isinstance(node.value, ast.Subscript):
                names += tables.get(ast.unparse(node.value.value), [])
            elif isinstance(node.value, ast.IfExp):
                names += [one.id for one in (node.value.body, node.value.orelse) if isinstance(one, ast.Name)]
    return found


def parts_of_init(lineage):
    """`__init__` of each class, and of methods named `_init_…` those that no other class overrides."""
    found, seen = [], set()
    for at, definition in lineage:
        for node in definition.body:
            if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or node.name.startswith("_init_") and node.name not in seen):
                found.append((at, node))
                seen.add(node.name)
    return found


def given_to_super(function):
    """Parameters of the constructor of the class above that are names, with the name."""
    calls_above = (c for c in ast.walk(function) if isinstance(c, ast.Call) and ast.unparse(c.func) == "super().__init__")
    return [(k.arg, k.value.id) for call in calls_above for k in call.keywords if isinstance(k.value, ast.Name)]


def calls(value):
    """The calls that an assigned value may be."""
    if isinstance(value, ast.IfExp):
        return [*calls(value.body), *calls(value.orelse)]
    return [value] if isinstance(value, ast.Call) else []


def called(call):
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def makers(part, function):
    """The calls that a lambda, or a function inside another one, returns."""
    if isinstance(function, ast.Lambda):
        return calls(function.body)
    named = (node for node in ast.walk(part) if isinstance(node, ast.FunctionDef) and node.name == getattr(function, "id", ""))
    returned = (node for one in named for node in ast.walk(one) if isinstance(node, ast.Return))
    return [call for node in returned for call in calls(node.value)]


class Names:
    """Collects the names of the weights of a class."""

    def __init__(self, source):
        self.source, self.weights, self.experts, self.visited = source, set(), {}, []

    def add(self, module, name, prefix="", given=None):
        """Those of a class of vLLM's; `given` are classes that its parameters have in place of their defaults."""
        self.visited.append((module, name))
        lineage = self.source.lineage(module, name)
        bound = {}
        for at, definition in reversed(lineage):
            init = method(definition, "__init__")
            chosen = [*attributes(definition), *([*defaults(init), *given_to_super(init)] if init else [])]
            bound |= {name: (at, value) for name, value in chosen if self.source.find(at, value)}
        bound |= given or {}
        for at, part in parts_of_init(lineage):
            for node in ast.walk(part):
                if isinstance(node, (ast.Assign, ast.AnnAssign)):
                    variable = called(node.value) if isinstance(node.value, ast.Call) else ""
                    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                        for one in self._bindings(at, bound, variable, part):
                            self._assigned(lineage, at, one, target, node.value, prefix, part)

    def _bindings(self, at, bound, variable, part):
        """`bound` with each class that a variable may stand for; `bound` alone where the variable stands for none."""
        classes = choices(part, self.source.tables(at)).get(variable, [])
        return [bound | {variable: (at, name)} for name in classes] or [bound]

    def _assigned(self, lineage, at, bound, target, value, prefix, part):
        if isinstance(target, ast.Tuple):
            target = target.elts[-1]  # start, end, layers = make_layers(…)
        if not isinstance(target, ast.Attribute) or getattr(target.value, "id", "") != "self":
            return
        for call in calls(value):
            if called(call) == "make_layers":
                for inner in makers(part, call.args[1]):
                    for one in self._bindings(at, bound, called(inner), part):
                        self._called(lineage, at, one, inner, f"{prefix}{target.attr}.*")
            else:
                self._called(lineage, at, bound, call, f"{prefix}{target.attr}")

    def _called(self, lineage, at, bound, call, path):
        name = called(call)
        if name == "_init_model":
            owner, made = next((m, f) for m, d in lineage if (f := method(d, name)))
            (returned,) = [node.value for node in ast.walk(made) if isinstance(node, ast.Return)]
            bound = bound | {name: (owner, value) for name, value in defaults(made)}
            self._called(lineage, owner, bound, returned, path)
            return
        module, name = bound.get(name, (at, name))
        given = {k.arg: bound.get(k.value.id, (at, k.value.id)) for k in call.keywords if isinstance(k.value, ast.Name)}
        given = {parameter: found for parameter, found in given.items() if self.source.find(*found)}
        if EXPERTS.fullmatch(name):
            named = [ast.literal_eval(k.value) for k in call.keywords if k.arg == "ckpt_names"]
            self.experts[path] = sorted(*named or [MATRICES_OF_EXPERTS])
        elif PARAMETERS.fullmatch(name):
            self.weights.add(path.rpartition(".")[0])
        elif WEIGHTS.fullmatch(name) or PROJECTIONS.fullmatch(name) or name.endswith("_cls"):  # the class of a norm that a function chooses
            self.weights.add(path)
        elif self.source.find(module, name):
            self.add(module, name, f"{path}.", given)


def replacements(source, visited, kind):
    """What the mappers of names of all classes replace: old and new parts of names."""
    found = {}
    for module, name in visited:
        for _, definition in source.lineage(module, name):
            for node in ast.walk(definition):
                if isinstance(node, ast.Call) and called(node) == "WeightsMapper":
                    for literal in (k.value for k in node.keywords if k.arg == f"orig_to_new_{kind}" and isinstance(k.value, ast.Dict)):
                        pairs = zip(literal.keys, literal.values)
                        found |= {ast.literal_eval(old): ast.literal_eval(new) for old, new in pairs if isinstance(old, ast.Constant)}
    return found


def replaced(source, visited):
    """What methods of all classes replace in the names of tensors: `name = name.replace(OLD, NEW)`."""
    found = {}
    for module, name in visited:
        for _, definition in source.lineage(module, name):
            for node in ast.walk(definition):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "name.replace":
                    if all(isinstance(argument, ast.Constant) for argument in node.value.args):
                        old, new = map(ast.literal_eval, node.value.args)
                        found[old] = new
    return found


def packed(source, visited):
    """What classes say of modules that stand for several of a checkpoint, where no mapper of names says it."""
    found = {}
    for module, name in visited:
        for _, definition in source.lineage(module, name):
            for node in definition.body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "packed_modules_mapping":
                    for new, old in ast.literal_eval(node.value).items():
                        found |= {f".{part}": f".{new}" for part in old if part != new}
    return found


def fused(source, visited):
    """What methods of all classes list as parts of one parameter: `…_params_mapping = [(NEW, OLD, place), …]`."""
    found = {}
    for module, name in visited:
        for _, definition in source.lineage(module, name):
            for node in ast.walk(definition):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("_params_mapping") and isinstance(node.value, ast.List):
                    entries = [entry.elts[:2] for entry in node.value.elts if isinstance(entry, ast.Tuple)]
                    constant = [(new.value.strip("."), old.value.strip(".")) for new, old in entries if isinstance(new, ast.Constant)]
                    found |= {f".{old}": f".{new}" for new, old in constant}
    return found


def multimodal(source, module, name):
    """How vLLM names the tensors of a model with a language model inside.

    `begins` is what it replaces at the begin of names, and `language_model` the class of the language model, null where the config chooses
    it. A class that has its language model as a part of itself has all names. None where vLLM renames by other means.
    """
    begins = {old: new for old, new in replacements(source, [(module, name)], "prefix").items() if new}
    for _, definition in source.lineage(module, name):
        for node in ast.walk(definition):
            if isinstance(node, ast.Call) and called(node) == "init_vllm_registered_model":
                given = [k.value for k in node.keywords if k.arg == "architectures" and isinstance(k.value, ast.List)]
                always = [ast.literal_eval(classes)[0] for classes in given] or [None]
                return {"begins": begins, "language_model": always[0]} if begins else None
    return {"begins": begins} | names(source, module, name)


def names(source, module, name):
    found = Names(source)
    found.add(module, name)
    stacked, substrings, suffixes = (replacements(source, found.visited, kind) for kind in ("stacked", "substr", "suffix"))
    return {
        "weights": sorted(found.weights),
        "experts": found.experts,
        "renamed": {old: new for old, new in (substrings | suffixes | replaced(source, found.visited)).items() if new is not None},
        "stacked": {old: new for old, (new, _) in stacked.items()} or packed(source, found.visited) | fused(source, found.visited),
    }


def main():
    code = "".join(f.read_text() for f in (ROOT / "src/main/java/dev/laco/model").glob("*.java"))
    families = sorted({*re.findall(r'named\("(\w+)"', code), *re.findall(r'new Multimodal\(\s*"(\w+)"', code)})
    with tempfile.TemporaryDirectory() as folder:
        source = Source(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else download(folder))
        registered = source.registered()
        out = {}
        for family in families:
            module, name = registered.get(family, ("", ""))
            if module == f"{MODELS}transformers":
                out[family] = "transformers"
            elif module and (known := (multimodal if family.endswith("ForConditionalGeneration") else names)(source, module, name)):
                out[family] = known
    OUT.write_text(json.dumps({"vllm": VERSION, "sha256": DIGEST, "architectures": out}, indent=1) + "\n")


if __name__ == "__main__":
    main()

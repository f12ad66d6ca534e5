#!/usr/bin/env python3
"""All checks of the engine against other people's software; interop/run calls it. interop/README.md says what they are.

    build/interop-env/bin/python interop/check_all.py WORK
"""

import json
import pathlib
import sys

import adapters
import checks
import engine
import gradients
import hub_results
import images
import jlama
import laco_reference
import llama_cpp
import loaders
import make_families
import make_multimodal
import make_gemma3
import make_smollm2
import pages
import paired_statistics
import pruned_files
import support
import torch
import torch_files
import vllm_names
import words
from transformers.utils import logging

RESOURCES = engine.ROOT / "src/test/resources"
STORYTELLER = engine.ROOT / "models/storyteller"
SMOLLM2 = engine.ROOT / "build/SmolLM2-135M"
GEMMA3 = make_gemma3.FILE
# What export says of models that llama.cpp does not compute, or computes differently.
NOT_AS_GGUF, DIFFERS = "cannot be written as GGUF", ("llama.cpp ignores", "llama.cpp rounds")
LLAMA_CPP_SEQUENCES = 2
LLAMA_CPP = llama_cpp.Library(engine.ROOT / "build/interop-env/llama.cpp")
MANY_SCRIPTS = engine.ROOT / "interop/scripts.txt"

GEMMA3_TOKENS = 48  # each has 262,144 logits

DENSE_TOLERANCE = 1e-5  # of the largest magnitude: both programs compute in float32
PRUNED_TOLERANCE = 1e-4  # Eq. 1 grows weights and hidden states, and with them what float32 loses
GELU_TOLERANCE = 2e-3  # llama.cpp reads GELU from a table in float16, and takes its approximation with tanh for all
WITH_GELU = ("gemma", "gpt_neox", "falcon", "starcoder2")
QUANTISED_TOLERANCE = 0.1  # llama.cpp rounds hidden states to 8 bits where it multiplies them with quantised weights
SIMILARITY_TOLERANCE = 1e-4
ROUNDED_SIMILARITY_TOLERANCE = 2e-3  # the parity mode scores a mix before it is rounded to the checkpoint's 16 bits

SETTINGS = {
    "--merge-layers": "mergeLayers",
    "--interval": "interval",
    "--lowest": "lowest",
    "--highest": "highest",
    "--threshold": "threshold",
    "--rule": "rule",
    "--norms": "norms",
}
RULES = {"eq1": ("--rule", "rdsc"), "half_eq1": ("--rule", "rdsc:0.5"), "mean": ("--rule", "mean"), "drop": ("--rule", "drop")}
# What a rule computes depends on the type of the weights, not on the family: these have all rules, one for each type.
IN_JLAMA = ("llama_untied_gqa", "qwen2_bias")  # of the families that jlama computes, those whose weights are float32
ALL_RULES = ("llama_untied_gqa", "llama_tied_rope3", "llama_mha_bias_f16")


class Subject:
    """A model that is pruned in several ways, with token ids to prune and to measure on."""

    def __init__(self, name, model, tokens_file, work):
        self.name, self.model, self.work = name, model, work / name
        self.work.mkdir(parents=True)
        tokens = json.loads(tokens_file.read_text())
        self.calibration, self.evaluation = tokens["calib"], tokens["eval"]
        self.calibration_file, self.evaluation_file = self.work / "calib.json", self.work / "eval.json"
        self.calibration_file.write_text(json.dumps(self.calibration))
        self.evaluation_file.write_text(json.dumps(self.evaluation))
        self.dense = self._load(model)
        self.trained = False
        self.dense_hidden = [self.dense.forward(tokens)[0] for tokens in self.calibration]

    def _load(self, folder):
        return loaders.Loaded(folder, self.evaluation[0][:5])

    def _check_outputs(self, run, folder, loaded, tolerance, in_llama_cpp):
        what = f"{self.name} {run}"
        dump = self.work / "dump.safetensors"
        dump.unlink(missing_ok=True)
        measured = engine.evaluate(folder, self.evaluation_file, dump)
        loaders.check_outputs(what, loaded, self.evaluation, dump, measured, tolerance)
        if in_llama_cpp:
            self._check_in_llama_cpp(run, folder, dump, tolerance)
        if self.name in IN_JLAMA and run == "paper":
            self._check_in_jlama(what, folder, dump)
        return measured

    def _check_in_jlama(self, what, folder, dump):
        """The probabilities of the token behind each sequence."""
        theirs = jlama.next_token(folder, self.evaluation)
        ours = [torch.softmax(logits[-1], dim=-1) for logits in loaders.dumped_logits(dump)]
        difference = max(loaders.relative_difference(a, torch.tensor(b)) for a, b in zip(ours, theirs))
        support.opened(folder, "jlama", checks.at_most(difference, PRUNED_TOLERANCE, f"{what}: probabilities in jlama"))

    def _gguf(self, run):
        return self.work / f"{run}.gguf"

    def _check_in_llama_cpp(self, run, folder, dump, tolerance):
        """The logits of llama.cpp on the file that export writes, against the engine's own on the folder."""
        what, file = f"{self.name} {run}", self._gguf(run)
        try:
            said = engine.export(folder, file)
        except engine.EngineError as e:
            if NOT_AS_GGUF not in str(e):
                raise
            said = str(e)
        if NOT_AS_GGUF in said or any(difference in said for difference in DIFFERS):
            print(f"interop: {what}: {said}", file=sys.stderr)
            return
        theirs = LLAMA_CPP.logits(file, self.evaluation[:LLAMA_CPP_SEQUENCES], engine.THREADS)
        difference = max(loaders.relative_difference(torch.tensor(logits), dumped) for logits, dumped in zip(theirs, loaders.dumped_logits(dump)))
        if self.dense.model.config.model_type.startswith(WITH_GELU):
            tolerance = GELU_TOLERANCE
        support.opened(folder, "llama.cpp", checks.at_most(difference, tolerance, f"{what}: logits in llama.cpp"))

    def check_dense(self):
        return self._check_outputs("dense", self.model, self.dense, DENSE_TOLERANCE, in_llama_cpp=True)

    def check_run(self, run, options, in_llama_cpp=False):
        """Prunes, and holds what was written against the original, the report, transformers, and llama.cpp where asked for."""
        what, out = f"{self.name} {run}", self.work / run
        print(f"interop: {what}", file=sys.stderr)
        report = engine.prune(self.model, out, self.calibration_file, *options)
        rounded = pruned_files.check_files(what, self.model, out, report)
        support.opened(out, "vLLM", vllm_names.check(what, out, pruned_files.tensor_names(out)))
        pruned = self._load(out)
        support.opened(out, "transformers", loaders.check_opens(what, pruned, self.dense))
        measured = self._check_outputs(run, out, pruned, PRUNED_TOLERANCE, in_llama_cpp)
        tolerance = ROUNDED_SIMILARITY_TOLERANCE if rounded else SIMILARITY_TOLERANCE
        loaders.check_similarity(what, self.dense_hidden, pruned, self.calibration, report["finalSimilarity"], tolerance)
        if in_llama_cpp and not self.trained:
            self.trained = True
            gradients.check(what, self.model, self.dense.model, out, pruned.model, self.calibration, self.work / "heal")
        return report, measured

    def check_stored_runs(self, expected):
        """The stored runs of the published code and of Eq. 1: every trial, and the NLL of what was written."""
        for run, stored in expected["runs"].items():
            what = f"{self.name} {run}"
            with checks.guarded(what):
                options = [f"{option}={stored[key]}" for option, key in SETTINGS.items()]
                report, measured = self.check_run(run, options, in_llama_cpp=run == "paper")
                tolerance = laco_reference.similarity_tolerance(self.name)
                checks.same_trials(report["trials"], stored["trials"], tolerance, f"{what}, stored run")
                bases = [layer["base"] for layer in report["plan"]["layers"]]
                checks.check(bases == stored["baseLayers"], f"{what}: surviving layers as stored", bases)
                if stored["pruned"]:
                    self.check_stored_nll(what, measured, stored["pruned"])

    def check_stored_nll(self, what, measured, stored):
        mean = stored["float32"]["eval"]["mean_nll"]
        checks.at_most(abs(measured["meanNll"] / mean - 1), 1e-4, f"{what}: mean NLL {mean:.4f} as stored")

    def check_rules(self, rules, layers_removed):
        """The paper's loop to a target depth, by rules with their own defaults. Half of the layers stay."""
        layers = loaders.decoder_layers(self.dense.model)
        depth = len(layers) - min(layers_removed, len(layers) // 2)
        if len({(type(getattr(layer, "mlp", None)), loaders.has_softmax(layer)) for layer in layers}) > 1:
            rules = ("drop",)  # layers of unlike kinds cannot be merged
        softmax = [i for i, layer in enumerate(layers) if loaders.has_softmax(layer)]
        # transformers generates no text without a layer of softmax attention: where there is one, it stays.
        limits = ("--lowest=0", f"--highest={softmax[0]}") if len(softmax) == 1 else ()
        for rule in rules:
            what = f"{self.name} {rule}"
            with checks.guarded(what):
                options = [*RULES[rule], f"--target-layers={depth}", "--search=laco", "--merge-layers=3", "--interval=1", *limits]
                report, _ = self.check_run(rule, options, in_llama_cpp=rule in ("eq1", "drop"))
                checks.check(report["layersOut"] == depth, f"{what}: {depth} layers left", report["layersOut"])

    def check_default(self, layers_removed, fit_tokens):
        """What a size gives by default: a search for the cheapest blocks of layers, and a fit of weights."""
        depth, what = len(loaders.decoder_layers(self.dense.model)) - layers_removed, f"{self.name} default"
        with checks.guarded(what):
            report, _ = self.check_run("default", [f"--target-layers={depth}", f"--fit-tokens={fit_tokens}"])
            checks.check(report["layersOut"] == depth, f"{what}: {depth} layers left", report["layersOut"])
            checks.check("tensors" in report["plan"], f"{what}: the fit was kept")
            pages.check_report(f"{what}: page", self.work / "default.report.html", report)

    def check_text(self):
        """Token ids of a text with many scripts, and a greedy continuation."""
        prompt = "Once upon a time"
        ids = engine.token_ids(self.model, MANY_SCRIPTS, self.work / "text.safetensors")
        said = engine.generate(self.model, prompt, loaders.NEW_TOKENS)
        loaders.check_text(f"{self.name} text", self.dense, self.model, MANY_SCRIPTS.read_text(), ids, prompt, said)
        theirs = LLAMA_CPP.token_ids(self._gguf("dense"), MANY_SCRIPTS.read_text())
        checks.check(ids == theirs, f"{self.name} text: {len(theirs)} token ids as in llama.cpp")


def expectations(folder):
    return json.loads((folder / "expected.json").read_text())


def check_published_algorithm(_):
    laco_reference.check_all(smollm2=False)


def check_fixtures(work):
    for folder in sorted((RESOURCES / "fixtures").iterdir()):
        if (folder / "model").is_dir():
            with checks.guarded(folder.name):
                subject = Subject(folder.name, folder / "model", folder / "tokens.json", work)
                expected = expectations(folder)
                subject.check_stored_nll(f"{folder.name} dense", subject.check_dense(), expected["dense"])
                subject.check_stored_runs(expected)
                if folder.name in ALL_RULES:
                    subject.check_rules(("half_eq1", "mean", "drop"), layers_removed=3)
                elif "paper" not in expected["runs"]:
                    subject.check_rules(("eq1",), layers_removed=3)


def check_torch(work):
    """Tied and untied heads, bf16, f32 and f16."""
    for name in ("llama_tied_rope3", "llama_untied_gqa", "llama_mha_bias_f16"):
        with checks.guarded(name):
            folder, calibration = RESOURCES / "fixtures" / name, work / f"{name}.calib.json"
            work.mkdir(parents=True, exist_ok=True)
            calibration.write_text(json.dumps(json.loads((folder / "tokens.json").read_text())["calib"]))
            torch_files.check(name, folder / "model", calibration, work / f"{name} torch")


def check_families(work):
    made = work / "families"
    make_families.make_all(made)
    for folder in sorted(made.iterdir()):
        with checks.guarded(folder.name):
            subject = Subject(folder.name, folder / "model", folder / "tokens.json", work)
            subject.check_dense()
            subject.check_rules(("eq1",), layers_removed=3)


def check_multimodal(work):
    """The tensors beside the language model are copied, and transformers opens what is written; gradients are those of the families."""
    made = work / "multimodal"
    make_multimodal.make_all(made)
    for folder in sorted(made.iterdir()):
        with checks.guarded(folder.name):
            subject = Subject(f"{folder.name} of several inputs", folder / "model", folder / "tokens.json", work)
            subject.trained = True
            subject.check_dense()
            seen = folder.name in images.INPUTS
            subject.check_rules(("drop" if seen else "eq1",), layers_removed=3)
            if seen:
                images.check(subject.name, folder.name, subject.model, subject.work / "drop")


def check_trained(name, model, folder, work):
    expected = expectations(folder)
    subject = Subject(name, model, folder / "tokens.json", work)
    subject.check_stored_nll(f"{name} dense", subject.check_dense(), expected["dense"])
    subject.check_stored_runs(expected)
    subject.check_text()
    return subject


def check_storyteller(work):
    subject = check_trained("storyteller", STORYTELLER, RESOURCES / "fixtures/storyteller", work)
    subject.check_default(layers_removed=4, fit_tokens=2048)
    adapters.check("storyteller adapters", subject.model, subject.work / "default", subject.work / "adapters")
    check_measurements(subject)


def check_measurements(subject):
    """The pages of similarity, sweep, compare, eval and heal."""
    folder = subject.work / "measured"
    similarity, sweep = folder / "similarity", folder / "sweep"
    common = ("--threads", engine.THREADS, "--json")
    found = json.loads(engine.laco("similarity", subject.model, "--longest-span", 1, "--out", similarity, *common))
    cosine = found["parameters"]["all"]["cosine"][0][1]
    pages.check("storyteller similarity: page", similarity / "similarity.html", [f"{cosine:.4f}"])
    curve = json.loads(engine.laco("sweep", subject.model, "--layers", "14,12", "--rule", "drop", "--out", sweep, *common))
    perplexities = [f"{point['measured']['perplexity']:.2f}" for point in curve["points"]]
    pages.check("storyteller sweep: page", sweep / "sweep.html", perplexities)
    compare = ("compare", subject.model, "--target-layers", 12, "--strategies", "last,shortgpt", "--html", folder / "compare.html")
    rows = json.loads(engine.laco(*compare, *common))["strategies"]
    shown = [f"x{row['ratio']:.3f}" for row in rows] + [f"{row['kl']:.4f}" for row in rows]
    pages.check("storyteller compare: page", folder / "compare.html", shown)
    results = folder / "results"
    against = ("--against", subject.work / "default", "--html", folder / "tasks.html", "--out", results)
    tasks = ("--tasks", "piqa,copa,lambada_openai", "--data", RESOURCES / "tasks", "--limit", 50)
    measured = json.loads(engine.laco("eval", subject.model, *tasks, *against, *common))
    lost = measured["against"][0]["comparison"]["tasks"]
    shown = [f"{100 * task['acc'][key]:.2f} %" for task in lost.values() for key in ("dense", "pruned", "kept")]
    pages.check("storyteller tasks: page", folder / "tasks.html", shown)
    dense, pruned = (results / str(model).replace("/", "__") for model in (subject.model, subject.work / "default"))
    hub_results.check("storyteller tasks: results for the hub", dense, measured["results"])
    paired_statistics.check("storyteller tasks", dense, pruned, lost)
    healed = subject.work / "heal"  # what gradients.check has written
    best = json.loads((healed / "healed.report.json").read_text())["training"]["best"]
    pages.check("storyteller heal: page", healed / "healed.report.html", [f"{best['kl']:.4f}", f"{best['nll']:.4f}"])


def check_smollm2(work):
    make_smollm2.make(SMOLLM2)
    check_trained("SmolLM2", SMOLLM2, RESOURCES / "smollm2", work)


def check_gemma3(work):
    """A trained model in quantised types, from one GGUF file to another; only where make_gemma3.py has made the file."""
    if not GEMMA3.exists():
        print("left out: Gemma 3 270M, which interop/make_gemma3.py makes", flush=True)
        return
    folder = work / "Gemma 3 270M"
    folder.mkdir(parents=True)
    tokens, dump, pruned = folder / "tokens.json", folder / "dump.safetensors", folder / "pruned.gguf"
    ids = engine.token_ids(GEMMA3, MANY_SCRIPTS, dump)
    theirs = LLAMA_CPP.token_ids(GEMMA3, MANY_SCRIPTS.read_text())
    checks.check(ids == theirs, f"Gemma 3 270M: {len(theirs)} token ids as in llama.cpp")
    tokens.write_text(json.dumps([ids[:GEMMA3_TOKENS]]))
    how = ("--target-layers", 16, "--search", "laco", "--rule", "drop", "--merge-layers", 2, "--interval", 1)
    report = engine.prune(GEMMA3, pruned, tokens, *how)
    pruned_files.check_gguf("Gemma 3 270M, 16 layers", GEMMA3, pruned, report["layersKept"])
    for what, file in (("18 layers", GEMMA3), ("16 layers", pruned)):
        dump.unlink()
        engine.evaluate(file, tokens, dump)
        (ours,) = loaders.dumped_logits(dump)
        (theirs,) = LLAMA_CPP.logits(file, json.loads(tokens.read_text()), engine.THREADS)
        difference = loaders.relative_difference(torch.tensor(theirs), ours)
        checks.at_most(difference, QUANTISED_TOLERANCE, f"Gemma 3 270M, {what}: logits in llama.cpp")


def check_words(work):
    words.check(work, MANY_SCRIPTS, LLAMA_CPP)


PARTS = {
    "published": check_published_algorithm,
    "fixtures": check_fixtures,
    "torch": check_torch,
    "words": check_words,
    "families": check_families,
    "multimodal": check_multimodal,
    "storyteller": check_storyteller,
    "smollm2": check_smollm2,
    "gemma3": check_gemma3,
}


def main(work, *parts):
    logging.disable_progress_bar()
    torch.set_num_threads(engine.THREADS)
    for part in parts or PARTS:
        print(f"interop: {part}", file=sys.stderr)
        with checks.guarded(part):
            PARTS[part](pathlib.Path(work))
    if not parts:
        support.check()
    sys.exit(checks.summary())


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Records what lm-evaluation-harness measures on the task files of the tests, item by item.

    interop/make_harness_results.py MODEL TASKS OUT.json

MODEL is a checkpoint, TASKS is src/test/resources/tasks. The harness (PyPI: lm_eval, of the version in HARNESS) is not in the
environment of the checks, since its dependencies are large: it is to be installed beside that environment, with its extra hf.
The files are those that the authors of the benchmarks publish; the harness reads the data sets of Hugging Face's hub, so that
the documents get the form of the hub first. Prompts, tokens and scores are the harness's own.
"""

import json
import pathlib
import sys
import uuid

import datasets
import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

HARNESS = "0.4.13"


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def labelled(file, labels):
    return [dict(doc, label=label) for doc, label in zip(lines(file), labels.read_text().split(), strict=True)]


def question_of_hub(doc, stem):
    """ARC and OpenBookQA: lists in the place of a list of objects."""
    choices = doc["question"]["choices"]
    lists = {"text": [c["text"] for c in choices], "label": [c["label"] for c in choices]}
    return {"id": doc["id"], stem: doc["question"]["stem"], "choices": lists, "answerKey": doc["answerKey"]}


def documents(folder):
    """The documents of every task, in the form of the hub."""
    boolq = [dict(question=d["question"], passage=d["passage"], label=int(d["answer"])) for d in lines(folder / "boolq/dev.jsonl")]
    piqa = [dict(d, label=int(d["label"])) for d in labelled(folder / "piqa/valid.jsonl", folder / "piqa/valid-labels.lst")]
    obqa = lines(folder / "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl")
    siqa = folder / "socialiqa-train-dev"
    return {
        "arc_challenge": [question_of_hub(d, "question") for d in lines(folder / "ARC-Challenge/ARC-Challenge-Test.jsonl")],
        "arc_easy": [question_of_hub(d, "question") for d in lines(folder / "ARC-Easy/ARC-Easy-Test.jsonl")],
        "boolq": boolq,
        "copa": lines(folder / "COPA/val.jsonl"),
        "hellaswag": [dict(d, label=str(d["label"])) for d in lines(folder / "hellaswag_val.jsonl")],
        "lambada_openai": lines(folder / "lambada_test.jsonl"),
        "openbookqa": [question_of_hub(d, "question_stem") for d in obqa],
        "piqa": piqa,
        "race": [dict(d, problems=repr(d["problems"])) for d in lines(folder / "race/test.jsonl")],
        "social_iqa": labelled(siqa / "dev.jsonl", siqa / "dev-labels.lst"),
        "winogrande": lines(folder / "winogrande_1.1/dev.jsonl"),
        "wsc273": lines(folder / "wsc273/test.jsonl"),
    }


def local(docs_of_task):
    """Lets the harness load its data sets from memory: every split of a task is the file that the test has."""

    def load(path, name=None, **_):
        task = NAMES[path, name]
        data = datasets.Dataset.from_list(docs_of_task[task])
        return datasets.DatasetDict({"train": data, "validation": data, "test": data})

    datasets.load_dataset = load
    # Fingerprints of functions are for a cache on disk, and dill cannot pickle all that the functions of tasks refer to.
    datasets.fingerprint.Hasher.hash = classmethod(lambda _, value: uuid.uuid4().hex)



NAMES = {
    ("allenai/ai2_arc", "ARC-Challenge"): "arc_challenge",
    ("allenai/ai2_arc", "ARC-Easy"): "arc_easy",
    ("aps/super_glue", "boolq"): "boolq",
    ("aps/super_glue", "copa"): "copa",
    ("Rowan/hellaswag", None): "hellaswag",
    ("EleutherAI/lambada_openai", "default"): "lambada_openai",
    ("allenai/openbookqa", "main"): "openbookqa",
    ("baber/piqa", None): "piqa",
    ("EleutherAI/race", "high"): "race",
    ("lighteval/siqa", None): "social_iqa",
    ("allenai/winogrande", "winogrande_xl"): "winogrande",
    ("lighteval/winograd_wsc", "wsc273"): "wsc273",
}


def recorded(samples):
    """For each item the log-likelihoods of what was asked, and what the metrics say."""
    items = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        item = {"logLikelihoods": [round(float(resp[0][0]), 6) for resp in sample["resps"]]}
        item.update({metric: sample[metric] for metric in sample["metrics"]})
        items.append(item)
    return items


def main(model, tasks, out):
    if lm_eval.__version__ != HARNESS:
        sys.exit(f"needs lm_eval {HARNESS}, not {lm_eval.__version__}")
    torch.set_num_threads(2)
    docs = documents(pathlib.Path(tasks))
    local(docs)
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8)
    results = lm_eval.simple_evaluate(lm, tasks=sorted(docs), task_manager=TaskManager(), bootstrap_iters=1000)
    recorded_tasks = {}
    for task in sorted(docs):
        values = {key: value for key, value in results["results"][task].items() if "," in key}
        recorded_tasks[task] = {"version": str(results["versions"][task]), **values, "items": recorded(results["samples"][task])}
    made = {"harness": HARNESS, "model": pathlib.Path(model).name, "tasks": recorded_tasks}
    pathlib.Path(out).write_text(json.dumps(made, indent=None, separators=(",", ":")).replace('{"logL', '\n{"logL') + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

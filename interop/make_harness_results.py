#!/usr/bin/env python3
"""Records what lm-evaluation-harness measures on the task files of the tests, item by item.

    interop/make_harness_results.py MODEL TASKS OUT.json

MODEL is a checkpoint, TASKS is src/test/resources/tasks. The harness (PyPI: lm_eval, of the version in HARNESS) is not in the
environment of the checks, since its dependencies are large: it is to be installed beside that environment, with its extra hf.
The files are those that the authors of the benchmarks publish; the harness reads the data sets of Hugging Face's hub, so that
the documents get the form of the hub first. Prompts, tokens and scores are the harness's own.
"""

import csv
import json
import pathlib
import sys
import uuid

import datasets
import lm_eval
import torch
from lm_eval.api.registry import get_aggregation, get_metric
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, get_task_dict

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


def table(file, columns=None):
    with file.open(newline="") as rows:
        return list(csv.DictReader(rows, columns))


def mmlu(file):
    rows = table(file, ["question", *"ABCD", "answer"])
    return [{"question": row["question"], "choices": [row[c] for c in "ABCD"], "answer": "ABCD".index(row["answer"])} for row in rows]


def documents(folder):
    """The documents of every task in the form of the hub: those that are measured, and those that examples are taken from."""
    boolq = [dict(question=d["question"], passage=d["passage"], label=int(d["answer"])) for d in lines(folder / "boolq/dev.jsonl")]
    piqa = [
        [dict(d, label=int(d["label"])) for d in labelled(folder / f"piqa/{part}.jsonl", folder / f"piqa/{part}-labels.lst")]
        for part in ("valid", "train")
    ]
    arc = [[question_of_hub(d, "question") for d in lines(folder / f"ARC-Easy/ARC-Easy-{part}.jsonl")] for part in ("Test", "Train")]
    obqa = lines(folder / "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl")
    siqa = folder / "socialiqa-train-dev"
    return {
        "arc_challenge": ([question_of_hub(d, "question") for d in lines(folder / "ARC-Challenge/ARC-Challenge-Test.jsonl")],),
        "arc_easy": arc,
        "boolq": (boolq,),
        "cmmlu_agronomy": [table(folder / f"cmmlu/{part}/agronomy.csv") for part in ("test", "dev")],
        "copa": [lines(folder / f"COPA/{part}.jsonl") for part in ("val", "train")],
        "gsm8k": [lines(folder / f"grade_school_math/data/{part}.jsonl") for part in ("test", "train")],
        "hellaswag": ([dict(d, label=str(d["label"])) for d in lines(folder / "hellaswag_val.jsonl")],),
        "lambada_openai": (lines(folder / "lambada_test.jsonl"),),
        "mmlu_anatomy": [mmlu(folder / f"data/{part}/anatomy_{part}.csv") for part in ("test", "dev")],
        "openbookqa": ([question_of_hub(d, "question_stem") for d in obqa],),
        "piqa": piqa,
        "race": ([dict(d, problems=repr(d["problems"])) for d in lines(folder / "race/test.jsonl")],),
        "social_iqa": (labelled(siqa / "dev.jsonl", siqa / "dev-labels.lst"),),
        "wikitext": (lines(folder / "wikitext/test.jsonl"),),
        "winogrande": [lines(folder / f"winogrande_1.1/{part}.jsonl") for part in ("dev", "train_xl")],
        "wsc273": (lines(folder / "wsc273/test.jsonl"),),
    }


# The splits that each task has: a task without a training split takes its examples from those that are measured.
SPLITS = {"wikitext": ("test", "train", "validation"), "lambada_openai": ("test",), "race": ("test",), "wsc273": ("test",), "mmlu_anatomy": ("test", "dev"), "cmmlu_agronomy": ("test", "dev")}
TESTED = ("arc_challenge", "arc_easy", "gsm8k", "openbookqa")


def splits(task):
    """The parts of a task's data set: the one that is measured, and the one that examples are taken from."""
    return SPLITS.get(task) or ("test" if task in TESTED else "validation", "train")


def local(docs_of_task):
    """Lets the harness load its data sets from memory."""

    def load(path, name=None, **_):
        task = NAMES[path, name]
        parts = docs_of_task[task]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(parts[min(i, len(parts) - 1)]) for i, split in enumerate(splits(task))})

    datasets.load_dataset = load
    # Fingerprints of functions are for a cache on disk, and dill cannot pickle all that the functions of tasks refer to.
    datasets.fingerprint.Hasher.hash = classmethod(lambda _, value: uuid.uuid4().hex)


NAMES = {
    ("allenai/ai2_arc", "ARC-Challenge"): "arc_challenge",
    ("allenai/ai2_arc", "ARC-Easy"): "arc_easy",
    ("aps/super_glue", "boolq"): "boolq",
    ("aps/super_glue", "copa"): "copa",
    ("openai/gsm8k", "main"): "gsm8k",
    ("Rowan/hellaswag", None): "hellaswag",
    ("EleutherAI/lambada_openai", "default"): "lambada_openai",
    ("allenai/openbookqa", "main"): "openbookqa",
    ("baber/piqa", None): "piqa",
    ("EleutherAI/race", "high"): "race",
    ("lighteval/siqa", None): "social_iqa",
    ("allenai/winogrande", "winogrande_xl"): "winogrande",
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): "wikitext",
    ("cais/mmlu", "anatomy"): "mmlu_anatomy",
    ("haonan-li/cmmlu", "agronomy"): "cmmlu_agronomy",
    ("lighteval/winograd_wsc", "wsc273"): "wsc273",
}


# Tasks whose answers the model writes.
GENERATED = {"gsm8k"}

# Tasks whose answers are also measured without their question.
MUTUAL_INFORMATION = ("arc_easy", "copa")

# One task of each way to choose examples, and those whose examples look different.
EXAMPLES = ("arc_easy", "cmmlu_agronomy", "copa", "lambada_openai", "mmlu_anatomy", "piqa", "winogrande")


def recorded(samples):
    """For each item the log-likelihoods of what was asked, or the text that was generated, and what the metrics say."""
    items = []
    if isinstance(samples[0]["resps"][0][0], str):
        for sample in sorted(samples, key=lambda sample: sample["doc_id"]):  # one for each filter
            if not items or items[-1]["text"] != sample["resps"][0][0] or sample["filter"] in items[-1]["found"]:
                items.append({"text": sample["resps"][0][0], "found": {}})
            items[-1]["found"][sample["filter"]] = [sample["filtered_resps"][0], sample["exact_match"]]
        return items
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        responses = [resp[0] for resp in sample["resps"]]  # a log-likelihood, and of answers whether it is greedy
        item = {"logLikelihoods": [round(float(r[0] if isinstance(r, tuple) else r), 6) for r in responses]}
        item.update({metric: sample[metric] for metric in sample["metrics"] if not isinstance(sample[metric], tuple)})
        items.append(item)
    return items


def with_mutual_information(task):
    """A task with a metric that the harness has for every task of multiple choice, and that no task's file asks for."""
    loaded = get_task_dict([task])[task]
    loaded._metric_fn_list["acc_mutual_info"] = get_metric("acc_mutual_info")
    loaded._metric_fn_kwargs["acc_mutual_info"] = {}
    loaded._aggregation_list["acc_mutual_info"] = get_aggregation("mean")
    loaded._higher_is_better["acc_mutual_info"] = True
    return loaded


def measured(lm, tasks, form=str, export=None, **settings):
    """Results by task; all samples are exported to the folder `export`, as `lm_eval --log_samples` does."""
    results = lm_eval.simple_evaluate(lm, tasks=[form(task) for task in sorted(tasks)], task_manager=TaskManager(), bootstrap_iters=1000, **settings)
    made = {}
    for task in sorted(tasks):
        values = {key: value for key, value in results["results"][task].items() if "," in key}
        made[task] = {"version": str(results["versions"][task]), **values, "items": recorded(results["samples"][task])}
    if export:  # which changes the samples
        tracker = EvaluationTracker(output_path=export)
        tracker.general_config_tracker.model_name_sanitized = "model"
        tracker.date_id = "2026-11-27T10-00-00.000000"
        for task in tasks:
            tracker.save_results_samples(task, results["samples"][task])
    return made


def main(model, tasks, out):
    if lm_eval.__version__ != HARNESS:
        sys.exit(f"needs lm_eval {HARNESS}, not {lm_eval.__version__}")
    torch.set_num_threads(2)
    docs = documents(pathlib.Path(tasks))
    local(docs)
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8)
    made = {"harness": HARNESS, "model": pathlib.Path(model).name, "tasks": measured(lm, docs.keys() - GENERATED)}
    made["generated"] = measured(lm, GENERATED)
    made["shots"], made["limit"] = 2, 5
    made["withExamples"] = measured(lm, EXAMPLES, num_fewshot=made["shots"], limit=made["limit"])
    made["withMutualInformation"] = measured(lm, MUTUAL_INFORMATION, with_mutual_information)
    pathlib.Path(out).write_text(json.dumps(made, indent=None, separators=(",", ":")).replace('{"logL', '\n{"logL').replace('{"text":', '\n{"text":') + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

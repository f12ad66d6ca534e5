#!/usr/bin/env python3
"""Compares the engine's tasks with lm-evaluation-harness on a real model, item by item.

    interop/compare_with_harness.py MODEL FOLDER

Makes 60 items each of ARC, PIQA and WinoGrande, and a text of WikiText's form, by rules with a fixed seed, and writes them to
FOLDER in the forms that the authors of the benchmarks publish. Then the harness and `laco eval` measure MODEL on them, both in
float32. Likewise the items of src/test/resources/tasks as the parquet files of the hub's data sets, which both programs read.
The lines say how far log-likelihoods differ, and for how many items a metric differs; the exit status is 1 if one does. To be
run by hand: it needs lm_eval of the version in make_harness_results.py beside the environment of the checks. The environment
variable LACO is the command of the engine; the default is ./laco.
"""

import json
import os
import pathlib
import random
import subprocess
import sys

import checks
import datasets
import make_harness_results as harness
import torch
from lm_eval.models.huggingface import HFLM

TASKS = pathlib.Path(__file__).resolve().parent.parent / "src/test/resources/tasks"
ITEMS = 60
KINDS = {
    "an animal": ["horse", "sheep", "salmon", "eagle", "spider", "whale"],
    "a metal": ["iron", "copper", "gold", "silver", "tin", "lead"],
    "a plant": ["oak", "grass", "rose", "wheat", "moss", "ivy"],
    "a planet": ["Mars", "Venus", "Saturn", "Jupiter", "Neptune", "Mercury"],
    "a tool": ["hammer", "saw", "drill", "chisel", "wrench", "file"],
}
WAYS = {
    "cut a board": "draw a saw across it again and again",
    "boil an egg": "lay it in hot water for eight minutes",
    "dry a wet shirt": "hang it on a line in the sun",
    "sharpen a knife": "draw its edge over a whetstone",
    "keep milk fresh": "leave it in the refrigerator",
    "put out a candle": "blow on the flame",
    "find a word in a book": "look it up in the index",
    "warm cold hands": "hold them near a fire",
}
REASONS = [
    ("{a} asked {b} for help with the {thing} because _ had never seen one before.", 0),
    ("{a} could not lift the {thing}, so {b} carried it, since _ was much stronger.", 1),
    ("{a} thanked {b} for the {thing} because _ had been without one for years.", 0),
    ("{a} bought the {thing} from {b} after _ had put it up for sale.", 1),
]
NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack"]
THINGS = ["lamp", "engine", "trunk", "ladder", "piano", "carpet", "telescope"]


def arc(draw):
    kind = draw.choice(sorted(KINDS))
    others = draw.sample(sorted(set(KINDS) - {kind}), 3)
    texts = [draw.choice(KINDS[one]) for one in [kind, *others]]
    order = draw.sample(range(4), 4)
    choices = [{"text": texts[place], "label": label} for place, label in zip(order, "ABCD", strict=True)]
    stem = draw.choice(["Which of these is {}?", "A student looks for {}. What should the student choose?"]).format(kind)
    return {"id": f"made-{draw.random():.6f}", "question": {"stem": stem, "choices": choices}, "answerKey": "ABCD"[order.index(0)]}


def piqa(draw):
    goal, other = draw.sample(sorted(WAYS), 2)
    label = draw.randrange(2)
    ways = [WAYS[goal], WAYS[other]]
    return {"goal": f"How does one {goal}?", "sol1": ways[label], "sol2": ways[1 - label]}, label


def winogrande(draw):
    sentence, right = draw.choice(REASONS)
    names = draw.sample(NAMES, 2)
    sentence = sentence.format(a=names[0], b=names[1], thing=draw.choice(THINGS))
    swapped = draw.randrange(2)
    options = names[::-1] if swapped else names
    return {"sentence": sentence, "option1": options[0], "option2": options[1], "answer": str((right ^ swapped) + 1)}


def write(file, docs):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(doc) + "\n" for doc in docs))


def make(folder):
    """Writes the files, and returns the documents in the form of the hub."""
    draw = random.Random(1234)
    arcs = [arc(draw) for _ in range(ITEMS)]
    piqas = [piqa(draw) for _ in range(ITEMS)]
    winograndes = [winogrande(draw) for _ in range(ITEMS)]
    sentences = [" ".join(f"{goal} , {way} ." for goal, way in draw.sample(sorted(WAYS.items()), 4)) for _ in range(40)]
    pages = [{"page": " = Advice = \n" + "".join(f" {sentence} \n" for sentence in sentences)}]
    write(folder / "ARC-Easy-Test.jsonl", arcs)
    write(folder / "piqa/valid.jsonl", [doc for doc, _ in piqas])
    (folder / "piqa/valid-labels.lst").write_text("".join(f"{label}\n" for _, label in piqas))
    write(folder / "winogrande/dev.jsonl", winograndes)
    write(folder / "wikitext/test.jsonl", pages)
    return {
        "arc_easy": ([harness.question_of_hub(doc, "question") for doc in arcs],),
        "piqa": ([dict(doc, label=label) for doc, label in piqas],),
        "winogrande": (winograndes,),
        "wikitext": (pages,),
    }


def write_parquet(folder):
    """Writes the items of the tests under the names of the data sets that the harness loads, and returns what it reads of them."""
    docs = {}
    for (dataset, config), task in harness.NAMES.items():
        parts = harness.documents(TASKS)[task]
        docs[task] = []
        for i, split in enumerate(harness.splits(task)):
            file = folder / dataset / (config or "data") / f"{split}-00000-of-00001.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_list(parts[min(i, len(parts) - 1)]).to_parquet(file)
            docs[task].append(datasets.Dataset.from_parquet(str(file), cache_dir=str(folder / "cache")).to_list())
    return docs


def by_laco(model, folder, tasks):
    out = folder / "laco"
    command = [*os.environ.get("LACO", "./laco").split(), "eval", model, "--tasks", ",".join(tasks)]
    command += ["--data", str(folder), "--compute", "f32", "--out", str(out), "--quiet"]
    subprocess.run(command, check=True)
    (results,) = out.glob("*")
    return {task: [json.loads(line) for line in (results / f"samples_{task}.jsonl").open()] for task in tasks}


def likelihoods(sample):
    return [float(response[0] if isinstance(response, list) else response) for response in sample["filtered_resps"]]


def asked(samples):
    return [(sample["arguments"], sample["target"], sample["filtered_resps"]) for sample in samples]


def agree(model, folder, docs):
    """
    Measures the items by both programs, and says how far they agree; false where they do not. The engine also takes the items
    from what the harness exports.
    """
    harness.local(docs)
    exports = folder / "exports"
    expected = harness.measured(HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8), docs, export=str(exports))
    found = by_laco(model, folder, sorted(docs))
    again = by_laco(model, exports / "model", sorted(docs))
    agreed = True
    for task in sorted(docs):
        if asked(found[task]) != asked(again[task]):
            print(f"{task}: other prompts or results from the samples that the harness exported")
            agreed = False
    for task in sorted(docs):
        items = expected[task]["items"]
        assert len(items) == len(found[task]), task
        differences, differ, compared = [0.0], 0, 0
        for item, sample in zip(items, found[task], strict=True):
            for wanted, got in zip(item["logLikelihoods"], likelihoods(sample), strict=True):
                differences.append(abs(got - wanted) / abs(wanted))
            for metric in ("acc", "acc_norm"):
                if metric in item:
                    compared += 1
                    differ += item[metric] != sample[metric]
        largest = checks.largest(differences)
        print(f"{task}: {len(items)} items, log-likelihoods differ by {largest:.1e} at most, {differ} of {compared} metrics differ")
        agreed &= differ == 0 and largest <= 1e-4
    return agreed


def main(model, folder):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    folder = pathlib.Path(folder)
    agreed = agree(model, folder / "published", make(folder / "published"))
    print("The items of the tests, from parquet files:")
    docs = write_parquet(folder / "hub")
    agreed &= agree(model, folder / "hub", {task: parts for task, parts in docs.items() if task not in harness.GENERATED})
    sys.exit(not agreed)


if __name__ == "__main__":
    main(*sys.argv[1:])

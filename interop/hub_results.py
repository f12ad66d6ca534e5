"""Reads the results that `laco eval --out` writes for Hugging Face's hub with the hub's own library."""

import checks
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

# What the value of a metric is multiplied with on the hub, where shares are in percent.
UNITS = {"acc": 100, "acc_norm": 100, "acc_bytes": 100, "perplexity": 1}


def check(what, folder, results):
    """The front matter and eval_results.yaml of a model's folder, against the `results` of the JSON document."""
    card = ModelCard((folder / "model-index.md").read_text() + "\n# A model\n")
    index = {(one.dataset_name, one.metric_name): one.metric_value for one in card.data.eval_results}
    expected = {
        (task, name): unit * values[f"{name},none"]
        for task, values in results.items()
        for name, unit in UNITS.items()
        if f"{name},none" in values
    }
    checks.check(index.keys() == expected.keys(), f"{what}: metrics in the model card", sorted(index))
    difference = checks.largest(abs(index[key] - value) / max(abs(value), 1) for key, value in expected.items())
    checks.at_most(difference, 1e-5, f"{what}: values in the model card")
    entries = parse_eval_result_entries(yaml.safe_load((folder / "eval_results.yaml").read_text()))
    ours = {entry.task_id: entry.value for entry in entries}
    theirs = {task: expected.get((task, "acc_norm"), expected[task, "acc"]) for task in results}
    checks.check(ours.keys() == theirs.keys(), f"{what}: tasks in eval_results.yaml", sorted(ours))
    checks.at_most(checks.largest(abs(ours[task] - value) for task, value in theirs.items()), 1e-4, f"{what}: percents in eval_results.yaml")
    checks.check(all(isinstance(entry.date, str) for entry in entries), f"{what}: dates are texts")


def check_card(what, folder, plan):
    """The model card of a pruned folder: the perplexity that its plan says."""
    measured = plan.get("results")
    found = ModelCard((folder / "README.md").read_text()).data.eval_results
    expected = [] if measured is None else [(measured["text"], "perplexity", round(measured["perplexity"], 4))]
    read = [(one.dataset_name, one.metric_type, one.metric_value) for one in found or []]
    checks.check(read == expected, f"{what}: results in the model card", f"{read}, expected {expected}")

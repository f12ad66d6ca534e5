"""The statistics of a comparison by `laco eval --against`, computed again by SciPy from the answers of every item."""

import json

import checks
import numpy as np
from scipy import stats

CHANCE = {"piqa": 0.5, "copa": 0.5}
RESAMPLES = 20_000
# Ends of intervals of 2,000 samples differ from those of more by about 0.06 standard errors.
BOOTSTRAP = 0.3


def samples(folder, task, metric):
    """The values of a metric by item."""
    return np.array([json.loads(line)[metric] for line in (folder / f"samples_{task}.jsonl").read_text().splitlines()])


def check(what, dense_folder, pruned_folder, comparison):
    """The comparison of two models that `comparison` is the JSON of, from the files of their items."""
    for task, chance in CHANCE.items():
        dense, pruned = (samples(folder, task, "acc") for folder in (dense_folder, pruned_folder))
        lost, won = int(np.sum(dense > pruned)), int(np.sum(dense < pruned))
        ours = comparison[task]["acc"]
        checks.check((ours["lost"], ours["won"]) == (lost, won), f"{what}: flips of {task}", f"{ours}, expected {lost}, {won}")
        p = stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
        checks.at_most(abs(ours["mcNemarP"] - p), 1e-12, f"{what}: exact McNemar test of {task}")
        if dense.mean() > chance:
            kept = (pruned.mean() - chance) / (dense.mean() - chance)
            checks.at_most(abs(ours["keptBeyondChance"] - kept), 1e-12, f"{what}: share of {task} kept beyond chance")
        else:
            checks.check("keptBeyondChance" not in ours, f"{what}: {task} does not beat guessing")
    dense, pruned = (samples(folder, "lambada_openai", "perplexity") for folder in (dense_folder, pruned_folder))
    ours = comparison["lambada_openai"]["perplexity"]
    checks.at_most(abs(ours["kept"] / np.exp(np.mean(dense - pruned)) - 1), 1e-9, f"{what}: ratio of perplexities")
    theirs = stats.bootstrap(
        (dense, pruned),
        lambda d, p, axis: np.mean(d - p, axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(8),
    )
    ends = np.log([ours["low"], ours["high"]]) - np.array(theirs.confidence_interval)
    checks.at_most(float(np.max(np.abs(ends)) / theirs.standard_error), BOOTSTRAP, f"{what}: bootstrap interval, in standard errors")

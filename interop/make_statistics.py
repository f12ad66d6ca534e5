#!/usr/bin/env python3
"""Records what SciPy says of paired results, which the tests hold the engine's statistics to.

    interop/make_statistics.py src/test/resources/harness/statistics.json

To be run by hand with the Python of the environment of the checks.
"""

import json
import pathlib
import sys

import numpy as np
import scipy
from scipy import stats

FLIPS = [(0, 0), (1, 0), (3, 3), (10, 3), (3, 10), (61, 40), (210, 105), (2000, 1900), (700000, 702500)]

SHARES = [(0, 1), (1, 1), (0, 10), (10, 10), (3, 10), (61, 100), (1999, 2000)]


def wilson(right, items):
    interval = stats.binomtest(right, items).proportion_ci(method="wilson")
    return {"right": right, "items": items, "low": interval.low, "high": interval.high}


def mc_nemar(lost, won):
    """The exact test is a binomial test of the items that flipped."""
    return stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0


def main(out):
    random = np.random.default_rng(7)
    dense = -random.gamma(2.0, 1.5, 60)
    pruned = dense - random.normal(0.3, 0.6, 60)
    ratio = stats.bootstrap(
        (dense, pruned),
        lambda d, p, axis: np.exp(np.mean(d - p, axis=axis)),
        paired=True,
        vectorized=True,
        n_resamples=100_000,
        method="percentile",
        rng=np.random.default_rng(8),
    ).confidence_interval
    error = stats.bootstrap(
        (dense,), lambda d, axis: np.exp(-np.mean(d, axis=axis)), vectorized=True, n_resamples=100_000, method="percentile", rng=9
    ).standard_error
    made = {
        "scipy": scipy.__version__,
        "mcNemar": [{"lost": lost, "won": won, "p": mc_nemar(lost, won)} for lost, won in FLIPS],
        "shares": [wilson(right, items) for right, items in SHARES],
        "perplexity": {
            "dense": dense.tolist(),
            "pruned": pruned.tolist(),
            "standardError": error,
            "low": ratio.low,
            "high": ratio.high,
        },
    }
    pathlib.Path(out).write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

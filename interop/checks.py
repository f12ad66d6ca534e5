"""Counts checks: one line on stdout for each, numbers in the line where there are any."""

import contextlib
import math

import numpy as np

passed = 0
failures = []  # the lines printed for the checks that failed


def check(holds, what, why=""):
    """Prints what was claimed and whether it holds; the reason only when it does not."""
    global passed
    if holds:
        passed += 1
        print(f"ok    {what}", flush=True)
    else:
        reason = " ".join(str(why).split())[:400]
        failures.append(f"FAIL  {what}{': ' if reason else ''}{reason}")
        print(failures[-1], flush=True)
    return bool(holds)


def at_most(value, limit, what):
    """A measured difference against its limit. NaN and infinity fail."""
    value = float(value)
    return check(math.isfinite(value) and value <= limit, f"{what} ({value:.1e})", f"more than {limit:.0e}")


def largest(differences):
    """The largest of some differences: NaN where one of them is, which Python's max() would pass over."""
    return float(np.max(list(differences)))


def same_trials(ours, theirs, tolerance, what):
    """Two traces of the loop: the same candidates, decisions and depths, and similarities that agree."""
    keys = ("base", "merged", "layersBefore", "accepted")
    if not check([[t[k] for k in keys] for t in ours] == [[t[k] for k in keys] for t in theirs], f"{what}: {len(theirs)} trials, same decisions"):
        return
    pairs = [p for a, b in zip(ours, theirs) for p in zip([*a["similarities"], a["mean"]], [*b["similarities"], b["mean"]], strict=True)]
    at_most(largest(abs(a - b) for a, b in pairs), tolerance, f"{what}: similarities")


@contextlib.contextmanager
def guarded(what):
    """An exception is a failed check, so that one model that cannot be checked does not hide the others."""
    try:
        yield
    except Exception as e:
        check(False, what, f"{type(e).__name__}: {e}")


def summary():
    """Prints the failed checks once more, since they stand far apart in a long log, and the closing line; returns the exit status."""
    for line in failures:
        print(line)
    print(f"{passed} passed, {len(failures)} failed", flush=True)
    return int(bool(failures) or passed == 0)

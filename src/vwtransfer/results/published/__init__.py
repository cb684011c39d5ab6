"""The values of the paper's figures 3 and 6, and how a study's compare with them.

Source: Trabucco, Gurinas, Doherty, Salakhutdinov, "Understanding Visual Concepts Across Models",
2024, arXiv 2406.07506, figures 3 and 6. `results.csv` beside this file was read off the vector
graphics, to within 0.0002. Its columns:

    figure                 3 (unconstrained) or 6 (constrained)
    dataset, metric, trained_for, delta, mean     as in `vwtransfer.results.summary.means`
    ci_low, ci_high        ends of the 95 % interval over 100 trials
    interpolated           1 where the value was interpolated, as no marker could be read
"""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from vwtransfer.results.summary import BASELINES

KEY = ["dataset", "metric", "trained_for", "delta"]
TASK = {
    "generation_accuracy": "generation",
    "mean_average_precision": "detection",
    "classifier_accuracy": "classification",
}
"""The task whose model a metric is of."""
WORLD = "paper"
"""The name of the suite of models that the published values are of."""


@cache
def values() -> pd.DataFrame:
    """All published values; the module's docstring says what the columns are."""
    return pd.read_csv(Path(__file__).with_name("results.csv"))


def _own() -> pd.DataFrame:
    """In-domain means: a row for each dataset and metric, a column for each delta."""
    own = values()[values()["trained_for"] == values()["metric"].map(TASK)]
    return own.pivot(index=["dataset", "metric"], columns="delta", values="mean")


def kept() -> float:
    """Share of in-domain performance that transferred words keep, unconstrained, as in figure 3.

    The mean over the 24 pairs of dataset and direction of (transferred) / (in-domain).
    """
    free = values()[np.isinf(values()["delta"])]
    moved = free[free["trained_for"] != free["metric"].map(TASK)]
    both = moved.join(_own()[math.inf].rename("own"), on=["dataset", "metric"])
    return float((both["mean"] / both["own"]).mean())


def reached(delta: float) -> float:
    """In-domain performance at a delta over the unconstrained: the mean over datasets and tasks."""
    return float((_own()[delta] / _own()[math.inf]).mean())


def of_study(world: str, datasets: Iterable[str]) -> pd.DataFrame | None:
    """The published values that a study can be held against; None for a study in another world.

    Args:
        world: the name of its suite of models.
        datasets: those it has results on.
    """
    if world != WORLD:
        return None
    found = values()[values()["dataset"].isin(list(datasets))]
    return found.reset_index(drop=True) if len(found) else None


def compared(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Ours beside theirs, a row for each published value that the study has too.

    Args:
        table: from `summary.means`, with one transfer method.
        published: from `of_study`.

    Returns:
        The columns of KEY, `ours`, `low`, `high`, `trials`, `planned` (words there are to be),
        `theirs`, `ci_low`, `ci_high`, `difference` (ours - theirs) and `overlap`: whether the two
        intervals share a value.
    """
    ours = table[~table["trained_for"].isin(BASELINES) & (table["trials"] > 0)]
    ours = ours.assign(planned=ours["trials"] + ours["failed"] + ours["missing"])
    ours = ours[[*KEY, "mean", "low", "high", "trials", "planned"]].rename(columns={"mean": "ours"})
    theirs = published[[*KEY, "mean", "ci_low", "ci_high"]].rename(columns={"mean": "theirs"})
    both = theirs.merge(ours, on=KEY, validate="one_to_one")
    both["difference"] = both["ours"] - both["theirs"]
    # a single trial has no interval: then its value itself is looked at
    low, high = both["low"].fillna(both["ours"]), both["high"].fillna(both["ours"])
    both["overlap"] = (low <= both["ci_high"]) & (both["ci_low"] <= high)
    order = ["ours", "low", "high", "trials", "planned", "theirs", "ci_low", "ci_high"]
    return both[[*KEY, *order, "difference", "overlap"]]

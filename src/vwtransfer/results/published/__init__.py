"""The values of the paper's figures 3 and 6, and how a study's compare with them.

Source: Trabucco, Gurinas, Doherty, Salakhutdinov, "Understanding Visual Concepts Across Models",
2024, arXiv 2406.07506, figures 3 and 6. `results.csv` beside this file was read off the vector
graphics, to within 0.0002. Its columns:

    figure                 3 (unconstrained) or 6 (constrained)
    dataset, metric, source_task, delta, mean     as in `vwtransfer.results.summary.means`
    ci_low, ci_high        ends of the 95 % interval over 100 trials, each resampled by itself
    interpolated           1 where the value was interpolated, as no marker could be read
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from vwtransfer.results.schema import WORD
from vwtransfer.results.summary import means
from vwtransfer.words.cells import Cell

KEY = ["dataset", "metric", "source_task", "delta"]
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
    own = values()[values()["source_task"] == values()["metric"].map(TASK)]
    return own.pivot(index=["dataset", "metric"], columns="delta", values="mean")


def kept() -> float:
    """Share of in-domain performance that transferred words keep, unconstrained, as in figure 3.

    The mean over the 24 pairs of dataset and direction of (transferred) / (in-domain): no anchors
    were published. Ours is `statistics.retention` with `over_anchor=False`.
    """
    free = values()[np.isinf(values()["delta"])]
    moved = free[free["source_task"] != free["metric"].map(TASK)]
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


def compared(
    frame: pd.DataFrame, published: pd.DataFrame, planned: Sequence[Cell] = ()
) -> pd.DataFrame:
    """Ours beside theirs, a row for each published value and each of our models that has it too.

    Both intervals resample every word by itself, as the paper does, and so are narrower than ours
    elsewhere.

    Args:
        frame: results, with one transfer method.
        published: from `of_study`.
        planned: as for `summary.means`.

    Returns:
        The columns of KEY, `source_model`, `target_model`, `ours`, `low`, `high`, `trials`,
        `planned` (words there are to be), `theirs`, `ci_low`, `ci_high`, `difference` (ours -
        theirs) and `overlap`: whether the two intervals share a value.
    """
    table = means(frame, planned, unit="word")
    ours = table[(table["kind"] == WORD) & (table["trials"] > 0)]
    # the paper has one model for each task: it transfers between tasks only
    own = ours["source_model"] == ours["target_model"]
    ours = ours[own | (ours["source_task"] != ours["target_task"])]
    ours = ours.assign(planned=ours["trials"] + ours["failed"] + ours["missing"])
    ours = ours.rename(columns={"mean": "ours"})
    theirs = published[[*KEY, "mean", "ci_low", "ci_high"]].rename(columns={"mean": "theirs"})
    both = theirs.merge(ours, on=KEY, validate="one_to_many")
    both["difference"] = both["ours"] - both["theirs"]
    # a single trial has no interval: then its value itself is looked at
    low, high = both["low"].fillna(both["ours"]), both["high"].fillna(both["ours"])
    both["overlap"] = (low <= both["ci_high"]) & (both["ci_low"] <= high)
    order = ["source_model", "target_model", "ours", "low", "high", "trials", "planned", "theirs"]
    return both[[*KEY, *order, "ci_low", "ci_high", "difference", "overlap"]]

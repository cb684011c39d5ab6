"""Why a word is lost on the way: how well each of the results' DIAGNOSTICS predicts the loss.

The loss of a word in a direction is the mean of the words trained in the target, less what the
carried word reaches there.
"""

import math

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from vwtransfer.results import DIAGNOSTICS
from vwtransfer.results.retention import (
    TAILS,
    UNCONSTRAINED,
    drawn,
    headline,
    mean_of_defined,
)

RESAMPLES = 1000
GROUP = ["dataset", "trained_for", "evaluated_on"]


def losses(frame: pd.DataFrame, method: str, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """`loss` of each word and direction by a method, in the headline metric.

    Args:
        frame: results, as `results.read` gives them.
        method: a transfer.
        delta: of the words.

    Returns:
        A row for each: GROUP, "concept", "anchor", DIAGNOSTICS and "loss".
    """
    frame = headline(frame, delta)
    own = frame[frame["trained_for"] == frame["evaluated_on"]]
    level = own.groupby(["dataset", "evaluated_on"], observed=True)["value"].mean()
    moved = frame[frame["transfer"] == method]
    moved = moved.join(level.rename("level"), on=["dataset", "evaluated_on"])
    columns = [*GROUP, "concept", "anchor", *DIAGNOSTICS, "loss"]
    return moved.assign(loss=moved["level"] - moved["value"])[columns].reset_index(drop=True)


def rank_correlations(
    table: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """How well each column predicts the loss: Spearman's rho within groups, averaged over them.

    Args:
        table: as `losses` gives it.
        resamples: of each dataset's concepts, then anchors, for the 95 % interval.
        seed: of the resampling.

    Returns:
        A row for each of DIAGNOSTICS that is there: `column`, `rho`, `low`, `high`, `groups` (those in
        which it was measured, and varies as the loss does).
    """
    rows = []
    for column in [column for column in DIAGNOSTICS if column in table]:
        known = table.dropna(subset=[column])
        found, resampled = [], []
        for dataset, of_dataset in known.groupby("dataset", observed=True):
            words = sorted(set(zip(of_dataset["concept"], of_dataset["anchor"], strict=True)))
            draws = [np.concatenate(d) for d in drawn(words, resamples, seed, str(dataset))]
            for _, group in of_dataset.groupby(GROUP, observed=True):
                pairs = group.set_index(["concept", "anchor"])[[column, "loss"]]
                pairs_W2 = pairs.reindex(pd.MultiIndex.from_tuples(words)).to_numpy()
                if math.isfinite(rho := _rho(pairs_W2)):
                    found.append(rho)
                    resampled.append([_rho(pairs_W2[places]) for places in draws])
        if not found:
            rows.append((column, math.nan, math.nan, math.nan, 0))
            continue
        low, high = np.nanquantile(mean_of_defined(resampled), TAILS)
        rows.append((column, float(np.mean(found)), float(low), float(high), len(found)))
    return pd.DataFrame(rows, columns=["column", "rho", "low", "high", "groups"])


def _rho(pairs: np.ndarray) -> float:
    """Spearman's correlation of rows that are whole; nan where one of the two does not vary."""
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs) or (pairs == pairs[0]).all(axis=0).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)

"""Why a word is lost on the way: how well each of the results' CAUSES predicts the loss.

The loss of a word in a direction is the mean of the words trained in the target, less what the
carried word reaches there.
"""

import math

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from vwtransfer.leaderboard.retention import TAILS, UNCONSTRAINED, headline, mean_of_defined
from vwtransfer.results import CAUSES

RESAMPLES = 1000
GROUP = ["dataset", "trained_for", "evaluated_on"]


def losses(frame: pd.DataFrame, method: str, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """`loss` of each word and direction by a method, in the headline metric.

    Args:
        frame: results, as `results.read` gives them.
        method: a transfer.
        delta: of the words.

    Returns:
        A row for each: GROUP, "concept", "anchor", CAUSES and "loss".
    """
    frame = headline(frame, delta)
    own = frame[frame["trained_for"] == frame["evaluated_on"]]
    level = own.groupby(["dataset", "evaluated_on"], observed=True)["value"].mean()
    moved = frame[frame["transfer"] == method]
    moved = moved.join(level.rename("level"), on=["dataset", "evaluated_on"])
    columns = [*GROUP, "concept", "anchor", *CAUSES, "loss"]
    return moved.assign(loss=moved["level"] - moved["value"])[columns].reset_index(drop=True)


def rank_correlations(
    table: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """How well each column predicts the loss: Spearman's rho within groups, averaged over them.

    Args:
        table: as `losses` gives it.
        resamples: of words, within each group, for the 95 % interval.
        seed: of the resampling.

    Returns:
        A row for each of CAUSES that is there: `column`, `rho`, `low`, `high`, `groups` (those in
        which it was measured, and varies as the loss does).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for column in [column for column in CAUSES if column in table]:
        known = table.dropna(subset=[column])
        pairs = [group[[column, "loss"]].to_numpy() for _, group in known.groupby(GROUP)]
        groups = [pair for pair in pairs if math.isfinite(_rho(pair))]
        if not groups:
            rows.append((column, math.nan, math.nan, math.nan, 0))
            continue
        drawn = [
            [_rho(group[rng.integers(len(group), size=len(group))]) for group in groups]
            for _ in range(resamples)
        ]
        low, high = np.nanquantile(mean_of_defined(list(np.transpose(drawn))), TAILS)
        rho = float(np.mean([_rho(group) for group in groups]))
        rows.append((column, rho, float(low), float(high), len(groups)))
    return pd.DataFrame(rows, columns=["column", "rho", "low", "high", "groups"])


def _rho(pairs: np.ndarray) -> float:
    """Spearman's correlation; nan where one of the two does not vary."""
    if (pairs == pairs[0]).all(axis=0).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)

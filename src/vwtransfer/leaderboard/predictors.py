"""How well each of the results' DIAGNOSTICS predicts what a transfer loses of a word.

The loss of a word in a direction is the mean of the words trained in the target, less what the
transferred word reaches there.

Letters: W words, R resamples, V distinct values.
"""

import math

import numpy as np
import pandas as pd

from vwtransfer.results import DIAGNOSTICS
from vwtransfer.results.statistics import UNCONSTRAINED, Estimate, headline, mean_of, resample

RESAMPLES = 1000
GROUP = ["dataset", "source_model", "target_model"]


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
    own = frame[frame["source_model"].astype(str) == frame["target_model"].astype(str)]
    level = own.groupby(["dataset", "target_model"], observed=True)["value"].mean()
    moved = frame[frame["transfer"] == method]
    moved = moved.join(level.rename("level"), on=["dataset", "target_model"])
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
        A row for each of DIAGNOSTICS that is there: `column`, `rho`, `low`, `high`, `groups` (those
        in which it was measured, and varies as the loss does).
    """
    rows = []
    for column in [column for column in DIAGNOSTICS if column in table]:
        known = table.dropna(subset=[column])
        found = []
        for dataset, of_dataset in known.groupby("dataset", observed=True):
            words = sorted(set(zip(of_dataset["concept"], of_dataset["anchor"], strict=True)))
            draws = resample(words, str(dataset), resamples=resamples, seed=seed)
            often_RW = np.concatenate([np.ones((1, len(words))), *draws])
            for _, group in of_dataset.groupby(GROUP, observed=True):
                pairs = group.set_index(["concept", "anchor"])[[column, "loss"]]
                pairs_W2 = pairs.reindex(pd.MultiIndex.from_tuples(words)).to_numpy()
                rho_R = rank_correlation(pairs_W2, often_RW)
                found.append(Estimate.of(rho_R[0], rho_R[1:]))
        mean = mean_of(found)
        groups = sum(math.isfinite(each.value) for each in found)
        rows.append((column, mean.value, mean.low, mean.high, groups))
    return pd.DataFrame(rows, columns=["column", "rho", "low", "high", "groups"])


def rank_correlation(pairs_W2: np.ndarray, often_RW: np.ndarray) -> np.ndarray:
    """Spearman's correlation [R] of pairs of which each stands there so often.

    Pairs that are not whole do not count; nan where one of the two does not vary.
    """
    whole_W = np.isfinite(pairs_W2).all(axis=1)
    weight_RW = often_RW[:, whole_W].astype(np.float64)
    x_RW, y_RW = (_centred_ranks(value_W, weight_RW) for value_W in pairs_W2[whole_W].T)
    covariance_R = (weight_RW * x_RW * y_RW).sum(axis=1)
    energy_R = (weight_RW * x_RW**2).sum(axis=1) * (weight_RW * y_RW**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(energy_R > 0, covariance_R / np.sqrt(energy_R), np.nan)


def _centred_ranks(value_W: np.ndarray, weight_RW: np.ndarray) -> np.ndarray:
    """Ranks [R, W] of values that stand there so often, less their mean; ties share theirs."""
    values, place_W = np.unique(value_W, return_inverse=True)
    count_RV = weight_RW @ np.eye(len(values))[place_W]
    rank_RV = count_RV.cumsum(axis=1) - (count_RV - 1) / 2
    mean_R1 = (weight_RW.sum(axis=1, keepdims=True) + 1) / 2
    centred_RW: np.ndarray = rank_RV[:, place_W] - mean_R1
    return centred_RW

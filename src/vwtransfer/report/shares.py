"""What words keep: ratios of means, with 95 % bootstrap intervals over words."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from vwtransfer.report.study_reader import StudyFolder

RESAMPLES = 10_000
WORD = ["concept", "anchor", "seed"]

Means = dict[str, np.ndarray]
"""Column -> its mean over words, and behind it the means of RESAMPLES resamples [1 + RESAMPLES]."""


class Share(NamedTuple):
    """A mean of ratios with its 95 % interval; the ends are nan where a mean is of one word."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return percent(self.mean)
        return f"{percent(self.mean)} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def percent(share: float) -> str:
    """`32 %`."""
    return f"{100 * share:.0f} %"


def resampled(words: pd.DataFrame, rng: np.random.Generator) -> Means:
    """Means of each column over the words, which are drawn with replacement, rows as a whole.

    Args:
        words: a row for each word, a column for each thing it was measured at; nan where it was
            not. With one row there are no resamples: they are nan.
        rng: gives other draws to the next words.
    """
    count = len(words)
    values = words.to_numpy(float)
    drawn = rng.integers(count, size=(RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    often = np.bincount(drawn.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    times = np.vstack([np.ones(count), often])
    with np.errstate(invalid="ignore"):  # a resample may hold no value
        means = (times @ np.nan_to_num(values)) / (times @ ~np.isnan(values))
    if count == 1:
        means[1:] = np.nan
    return dict(zip(map(str, words), means.T, strict=True))


def share_of(ratios: Iterable[tuple[np.ndarray, np.ndarray]]) -> Share:
    """The mean of ratios (kept, whole), both as in `Means`."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold zeros only
        means = np.mean([kept / whole for kept, whole in ratios], axis=0)
    mean, resamples = means[0], means[1:]
    if np.isnan(resamples).all():
        return Share(float(mean), math.nan, math.nan)
    # an order statistic: between two infinite ratios there is nothing to interpolate
    low, high = np.nanquantile(resamples, [0.025, 0.975], method="inverted_cdf")
    return Share(float(mean), float(low), float(high))


Pairs = dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]]
"""(trained for, evaluated on) -> for each dataset (transferred, the model's own), as in `Means`."""


def transferred(study: StudyFolder, method: str, delta: float) -> Pairs:
    """What transferred words reach at one delta, beside what the evaluated model's own words do.

    In each task's first headline metric; where a model's own words learned nothing there is no
    pair.
    """
    first = dict(reversed(study.panels))
    frame = study.frame[study.frame["delta"] == delta].dropna(subset="value")
    frame = frame[frame["metric"] == frame["evaluated_on"].map(first)]
    frame = frame[frame["transfer"].isin(["none", method])]
    frame = frame[frame["trained_for"].isin(study.tasks)]
    rng = np.random.default_rng(0)
    means = {
        key: resampled(part.pivot(index=WORD, columns="evaluated_on", values="value"), rng)
        for key, part in frame.groupby(["dataset", "trained_for"], observed=True)
    }
    pairs: Pairs = {}
    for (dataset, source), reached_in in means.items():
        for target, moved in reached_in.items():
            own = means.get((dataset, target), {}).get(target)
            if source != target and own is not None and own[0] > 0:
                pairs.setdefault((source, target), []).append((moved, own))
    return pairs


def reached(study: StudyFolder, delta: float) -> Share | None:
    """In-domain performance at a delta over that of the same words unconstrained.

    The mean over datasets and tasks, in each task's first headline metric; None where no word has
    both.
    """
    first = dict(reversed(study.panels))
    frame = study.frame[study.frame["trained_for"] == study.frame["evaluated_on"]]
    frame = frame[frame["metric"] == frame["evaluated_on"].map(first)].dropna(subset="value")
    frame = frame[frame["delta"].isin([delta, math.inf])]
    rng = np.random.default_rng(0)
    ratios = []
    for _, part in frame.groupby(["dataset", "trained_for"], observed=True):
        wide = part.pivot(index=WORD, columns="delta", values="value").dropna()
        if wide.shape[1] == 2 and len(wide):
            means = resampled(wide, rng)
            kept, free = means[str(delta)], means[str(math.inf)]
            if free[0] > 0:
                ratios.append((kept, free))
    return share_of(ratios) if ratios else None

"""Percentile-bootstrap intervals of a mean over trials, as in figures 3 and 6 of the paper."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000
CONFIDENCE = 0.95
INDICES_AT_ONCE = 1_000_000


class Interval(NamedTuple):
    """A mean over trials and the ends of its interval.

    `low` and `high` are nan for a single trial, which says nothing of the spread; trials that are
    all equal give an interval of no width, as the published ones do.
    """

    mean: float
    low: float
    high: float
    trials: int


def bootstrap_mean(
    values: Sequence[float] | ArrayLike,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Mean of `values` [trials] with its percentile-bootstrap interval.

    Deterministic: the resamples depend on the seed and the number of trials only.

    Raises:
        ValueError: there is no trial, or a value is not finite. A failed trial has no value; who
            asks for the mean of the others leaves it out and says how many are left out.
    """
    trials = np.asarray(values, dtype=np.float64)
    if trials.ndim != 1 or trials.size == 0:
        raise ValueError(f"a mean needs a list of at least one trial, got shape {trials.shape}")
    if not np.isfinite(trials).all():
        count = int((~np.isfinite(trials)).sum())
        raise ValueError(f"{count} of {trials.size} trials have no finite value: leave them out")
    mean = float(trials.mean())
    if trials.size == 1:
        return Interval(mean, math.nan, math.nan, 1)
    means = _resampled_means(trials, resamples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(low), float(high), trials.size)


def _resampled_means(trials: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means [resamples] of as many trials drawn with replacement, in bounded memory."""
    rows = max(1, INDICES_AT_ONCE // trials.size)
    means = [
        trials[_draws(trials.size, min(rows, resamples - start), seed, start)].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(means)


@lru_cache(maxsize=8)
def _draws(trials: int, resamples: int, seed: int, start: int) -> np.ndarray:
    """Indices [resamples, trials]; kept, as the cells of a study have the same number of words."""
    return np.random.default_rng([seed, start]).integers(trials, size=(resamples, trials))

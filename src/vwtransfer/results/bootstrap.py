"""The bootstrap: means over words, and how they vary over resamples.

It resamples concepts and then, within each, as many of its anchors as it has. Datasets are
resampled independently of each other. Intervals are percentiles. `unit="word"` resamples every word
by itself, as the paper does, and is for comparisons with published values only: the words of one
concept are alike, so its intervals are too narrow.

Letters: R resamples, W words (pairs of concept and anchor) of a dataset, M means, B builds.
"""

import math
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

RESAMPLES = 4000
TAILS = (0.025, 0.975)

Unit = Literal["concept", "word"]

_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its 95 % interval; nan where it is undefined.

    Attributes:
        value: of the words themselves.
        low, high: the interval's ends; nan for a single word, which says nothing of the spread.
        draws: the value in each resample [R].
    """

    value: float
    low: float
    high: float
    draws: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, value: float, draws: np.ndarray) -> "Estimate":
        """With the percentile interval of those resamples in which it is defined."""
        defined = draws[np.isfinite(draws)] if math.isfinite(value) else draws[:0]
        low, high = np.quantile(defined, TAILS) if len(defined) else (math.nan, math.nan)
        return cls(float(value), float(low), float(high), draws)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference: both are of the same resamples."""
        return Estimate.of(self.value - other.value, self.draws - other.draws)

    def __str__(self) -> str:
        """`0.86 [0.78, 0.93]`; without an interval where there is none."""
        if math.isnan(self.value):
            return "-"
        ends = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{ends}"


def mean_of(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of those that are defined; in a resample, of those that are defined in it.

    Where one of them has no interval, neither has the mean.
    """
    defined = [each for each in estimates if math.isfinite(each.value)]
    if not defined:
        return Estimate(math.nan, math.nan, math.nan, np.empty(0))
    draws_ER = np.stack([each.draws for each in defined])
    there_ER = np.isfinite(draws_ER)
    there_ER &= there_ER.any(axis=1).all()
    with np.errstate(invalid="ignore"):
        draws_R = np.where(there_ER, draws_ER, 0).sum(axis=0) / there_ER.sum(axis=0)
    return Estimate.of(float(np.mean([each.value for each in defined])), draws_R)


def over_builds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over builds (repetitions of a whole study); resamples draw builds first.

    Args:
        estimates: one for each build, of the same number of draws.
    """
    draws_BR = np.stack([each.draws for each in estimates])
    builds, resamples = draws_BR.shape
    rng = np.random.default_rng([0, builds])
    build_RB = rng.integers(builds, size=(resamples, builds))
    draw_RB = rng.integers(resamples, size=(resamples, builds))
    value = float(np.mean([each.value for each in estimates]))
    return Estimate.of(value, draws_BR[build_RB, draw_RB].mean(axis=1))


def bootstrap_mean(
    values: Sequence[float] | ArrayLike,
    concepts: Sequence[str] | ArrayLike | None = None,
    *,
    dataset: str = "",
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean of `values` [W] with its interval.

    Args:
        values: one for each word.
        concepts: of each word; without them the unit is the word.
        dataset: of the words; each has draws of its own.
        resamples: R.

    Raises:
        ValueError: there is no value, or one is not finite: leave it out, and say how many are.
    """
    value_W = np.asarray(values, dtype=np.float64)
    if value_W.ndim != 1 or value_W.size == 0:
        raise ValueError(f"a mean needs a list of at least one value, got shape {value_W.shape}")
    if not np.isfinite(value_W).all():
        count = int((~np.isfinite(value_W)).sum())
        raise ValueError(f"{count} of {value_W.size} values are not finite: leave them out")
    names = np.arange(len(value_W)) if concepts is None else np.asarray(concepts, dtype=str)
    sizes = sizes_of(np.sort(names))
    value_W1 = value_W[np.argsort(names, kind="stable"), None]
    means_R = resampled_means(value_W1, np.ones_like(value_W1), sizes, dataset, resamples)[:, 0]
    return Estimate.of(means_R[0], means_R[1:])


def means_by(
    frame: pd.DataFrame,
    keys: Sequence[str],
    *,
    unit: Unit = "concept",
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Mean value of each group of rows, with its interval.

    Args:
        frame: results.
        keys: the columns that a group shares; "dataset" is among them.
        unit: what is drawn first.
        resamples: R.

    Returns:
        A row for each group: `keys`, mean, low, high, trials (rows with a value), failed (rows
        without one). Mean and ends are nan where there is no value; the ends also for one word.
    """
    place = [*keys].index("dataset")
    word = frame.groupby(["dataset", "concept", "anchor"], observed=True).ngroup().to_numpy()
    concept = frame.groupby(["dataset", "concept"], observed=True).ngroup().to_numpy()
    values = frame["value"].to_numpy(dtype=np.float64)
    groups = dict(sorted(frame.groupby([*keys], observed=True).indices.items()))
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Hashable, np.ndarray, np.ndarray]]] = {}
    for key, rows in groups.items():
        words, first, of_row = np.unique(word[rows], return_index=True, return_inverse=True)
        sizes = sizes_of(concept[rows][first], unit)
        column = (key, *summed(values[rows], of_row, len(words)))
        alike.setdefault((str(key[place]), sizes), []).append(column)
    found = {}
    for (dataset, sizes), columns in alike.items():  # the same draws for all of these
        sum_WM = np.stack([sum_W for _, sum_W, _ in columns], axis=1)
        count_WM = np.stack([count_W for _, _, count_W in columns], axis=1)
        means = resampled_means(sum_WM, count_WM, sizes, dataset, resamples)
        for (key, _, count_W), means_R in zip(columns, means.T, strict=True):
            estimate = Estimate.of(means_R[0], means_R[1:])
            trials = int(count_W.sum())
            failed = len(groups[key]) - trials
            found[key] = (estimate.value, estimate.low, estimate.high, trials, failed)
    return pd.DataFrame(
        [(*key, *found[key]) for key in groups],
        columns=[*keys, "mean", "low", "high", "trials", "failed"],
    )


def summed(values: np.ndarray, of_row: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum [W] and count [W] of the finite values of each word."""
    finite = np.isfinite(values)
    sum_W = np.bincount(of_row, np.where(finite, values, 0), minlength=words)
    return sum_W, np.bincount(of_row, finite, minlength=words)


def resampled_means(
    sum_WM: np.ndarray,
    count_WM: np.ndarray,
    sizes: tuple[int, ...],
    dataset: str,
    resamples: int,
) -> np.ndarray:
    """Means [1 + R, M]: of the words themselves, and of each resample.

    A resample of one word says nothing: it is nan.
    """
    with np.errstate(invalid="ignore"):
        mean_1M = sum_WM.sum(axis=0, keepdims=True) / count_WM.sum(axis=0, keepdims=True)
        if sum(sizes) == 1:
            return np.vstack([mean_1M, np.full((resamples, sum_WM.shape[1]), np.nan)])
        pieces = [
            (often_RW @ sum_WM) / (often_RW @ count_WM)
            for often_RW in draws(sizes, dataset, resamples)
        ]
    return np.vstack([mean_1M, *pieces])


def sizes_of(concepts: Sequence[str] | np.ndarray, unit: Unit = "concept") -> tuple[int, ...]:
    """How many words [C] are drawn together: those of each concept, or 1 where words are the unit.

    Args:
        concepts: of each word [W], sorted.
        unit: what is drawn first.
    """
    if unit == "word":
        return (1,) * len(concepts)
    names = np.asarray(concepts)
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    return tuple(np.diff([*starts, len(names)]).tolist())


def draws(sizes: tuple[int, ...], dataset: str, resamples: int) -> Iterator[np.ndarray]:
    """How often each word is drawn [r, W], in pieces that together have R rows.

    Args:
        sizes: see `sizes_of`.
        dataset: of the words; each has draws of its own.
        resamples: R.
    """
    rows = max(1, _DRAWS_AT_ONCE // sum(sizes))
    for start in range(0, resamples, rows):
        entropy = (0, zlib.crc32(dataset.encode()), start)
        yield _drawn(sizes, min(rows, resamples - start), entropy)


@lru_cache(maxsize=32)
def _drawn(sizes: tuple[int, ...], resamples: int, entropy: tuple[int, ...]) -> np.ndarray:
    """How often each word is drawn [R, W]: concepts, then as many of each one's words as it has."""
    rng = np.random.default_rng(entropy)
    size_C, words = np.array(sizes), sum(sizes)
    start_C = np.cumsum(size_C) - size_C
    concept_RC = rng.integers(len(sizes), size=(resamples, len(sizes)))
    drawn_RC = size_C[concept_RC]
    concept = np.repeat(concept_RC.ravel(), drawn_RC.ravel())
    place = start_C[concept] + (rng.random(len(concept)) * size_C[concept]).astype(int)
    row = np.repeat(np.arange(resamples), drawn_RC.sum(axis=1))
    often = np.bincount(row * words + place, minlength=resamples * words)
    return often.reshape(resamples, words).astype(np.uint16)

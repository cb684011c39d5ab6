"""How much of a word a transfer keeps: pure arithmetic on results.

Retention of a direction on a dataset

    (mean of the transferred words - mean of the anchor words)
    / (mean of the words trained in the target model - mean of the anchor words)

all measured in the target model: 0 is the word that training began with, 1 the word trained there
with images. A method's retention is the mean over directions and datasets. Intervals are percentile
bootstraps that resample concepts and then, within each, anchors; all means of a resample are of the
same words, so that differences between methods are paired.

Where training in the target gains less than LEAST_GAIN over the anchor, as it does in small balls
around it, there is nothing to keep and the ratio says nothing: such datasets count for no mean, nor
do such resamples for an interval.

Letters: R resamples, W words (pairs of concept and anchor) of a dataset.
"""

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

RESAMPLES = 4000
TAILS = (0.025, 0.975)
LEAST_GAIN = 0.1  # in the target's metric
UNCONSTRAINED = math.inf
METRICS = {
    "generation": "generation_accuracy",
    "detection": "mean_average_precision",
    "classification": "classifier_balanced_accuracy",
}
BASELINES = ("anchor", "name")
NO_WORDS = (*BASELINES, "random", "chance")
OVERALL = "all"


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its 95 % interval, and all its resamples [R]."""

    value: float
    low: float
    high: float
    resamples: np.ndarray

    @classmethod
    def of(cls, value: float, resamples: np.ndarray) -> "Estimate":
        """With the percentile interval of those of its resamples that are defined."""
        defined = resamples[np.isfinite(resamples)]
        low, high = np.quantile(defined, TAILS) if len(defined) else (math.nan, math.nan)
        return cls(value, float(low), float(high), resamples)

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference."""
        return Estimate.of(self.value - other.value, self.resamples - other.resamples)


def headline(frame: pd.DataFrame, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """The measured rows that retention is made of: one metric, words of one delta, baselines."""
    metric = frame["evaluated_on"].map(METRICS)
    wanted = np.where(frame["trained_for"].isin(NO_WORDS), UNCONSTRAINED, delta)
    chosen = (frame["metric"] == metric) & (frame["delta"] == wanted)
    return frame[chosen].dropna(subset=["value"])


def gains(frame: pd.DataFrame, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """What training gains over the anchor in each model, the denominator of retention.

    Returns:
        A row for each dataset and `evaluated_on`, with `gain`.
    """
    frame = headline(frame, delta)
    own = frame[(frame["trained_for"] == frame["evaluated_on"])]
    anchor = frame[frame["trained_for"] == "anchor"]
    keys = ["dataset", "evaluated_on"]
    means = [rows.groupby(keys, observed=True)["value"].mean() for rows in (own, anchor)]
    return (means[0] - means[1]).dropna().rename("gain").reset_index()


def directions(frame: pd.DataFrame, method: str) -> list[tuple[str, str]]:
    """(trained for, evaluated on) of every transfer by a method."""
    rows = frame[frame["transfer"] == method]
    found = rows[["trained_for", "evaluated_on"]].drop_duplicates()
    return sorted(found.itertuples(index=False, name=None))


def retention(
    frame: pd.DataFrame,
    method: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    delta: float = UNCONSTRAINED,
) -> dict[tuple[str, str], Estimate]:
    """A method's retention in every direction, as a mean over datasets, and over all directions.

    Args:
        frame: results, as `results.read` gives them.
        method: a transfer, or "name" for the concepts' own names, which are no transfer but say
            what words can do.
        resamples: R.
        seed: of the resampling; the same for every method.
        delta: of the words.

    Returns:
        (trained for, evaluated on) -> estimate; the mean under (OVERALL, OVERALL). Estimates are
        nan where training in the target gains too little to keep any of it.

    Raises:
        ValueError: a word lacks its anchor or the word trained in the target model.
    """
    frame = headline(frame, delta)
    if method in BASELINES:
        targets = sorted(frame.loc[frame["transfer"] != "none", "evaluated_on"].unique())
        pairs = [(method, target) for target in targets]
    else:
        pairs = directions(frame, method)
    parts: dict[tuple[str, str], list[tuple[float, np.ndarray]]] = {pair: [] for pair in pairs}
    for dataset, rows in frame.groupby("dataset", observed=True):
        words = _words(rows)
        weight_RW = _weights(words, resamples, seed, str(dataset))
        count = Counter(concept for concept, _ in words)
        even_1W = np.array([[1 / count[concept] for concept, _ in words]])
        for source, target in pairs:
            values = [
                _of_words(rows, words, trained_for, target, transfer, str(dataset))
                for trained_for, transfer in (
                    (source, "none" if source in BASELINES else method),
                    ("anchor", "none"),
                    (target, "none"),
                )
            ]
            one = float(_ratio(*(_mean(even_1W, v) for v in values))[0])
            parts[source, target].append((one, _ratio(*(_mean(weight_RW, v) for v in values))))
    found = {
        pair: Estimate.of(
            float(mean_of_defined([[one] for one, _ in part])[0]),
            mean_of_defined([many for _, many in part]),
        )
        for pair, part in parts.items()
        if part
    }
    overall = Estimate.of(
        float(mean_of_defined([[e.value] for e in found.values()])[0]),
        mean_of_defined([e.resamples for e in found.values()]),
    )
    return {**found, (OVERALL, OVERALL): overall}


def mean_of_defined(rows: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """Mean over rows of what is finite in each column; nan where nothing is."""
    values = np.asarray(rows, dtype=np.float64)
    there = np.isfinite(values)
    count = there.sum(axis=0)
    mean: np.ndarray = np.where(there, values, 0).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def _words(rows: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """(concept, anchor) of the words of a dataset, in order."""
    trained = rows[~rows["trained_for"].isin(NO_WORDS)]
    pairs = trained[["concept", "anchor"]].drop_duplicates().itertuples(index=False, name=None)
    return tuple(sorted(pairs))


@cache
def _weights(
    words: tuple[tuple[str, str], ...], resamples: int, seed: int, dataset: str
) -> np.ndarray:
    """How much each word [R, W] counts in each resample: a concept once, however many anchors."""
    weight_RW = np.zeros((resamples, len(words)))
    for weight_W, draws in zip(weight_RW, drawn(words, resamples, seed, dataset), strict=True):
        for places in draws:
            np.add.at(weight_W, places, 1 / len(places))
    return weight_RW


def drawn(
    words: Sequence[tuple[str, str]], resamples: int, seed: int, dataset: str
) -> Iterator[list[np.ndarray]]:
    """Resamples of a dataset's (concept, anchor) pairs: concepts, then the anchors of each.

    Each gives the places of the words drawn, an array for each concept drawn. Datasets are drawn
    independently of each other.
    """
    rng = np.random.default_rng([seed, zlib.crc32(dataset.encode())])
    places: dict[str, list[int]] = {}
    for place, (concept, _) in enumerate(words):
        places.setdefault(concept, []).append(place)
    of_concept = [np.array(mine) for mine in places.values()]
    for _ in range(resamples):
        chosen = rng.integers(len(of_concept), size=len(of_concept))
        yield [
            of_concept[c][rng.integers(len(of_concept[c]), size=len(of_concept[c]))] for c in chosen
        ]


def _of_words(
    rows: pd.DataFrame,
    words: Sequence[tuple[str, str]],
    trained_for: str,
    evaluated_on: str,
    transfer: str,
    dataset: str,
) -> np.ndarray:
    """The values [W] of one kind; nan for a word that failed."""
    mine = rows[
        (rows["trained_for"] == trained_for)
        & (rows["evaluated_on"] == evaluated_on)
        & (rows["transfer"] == transfer)
    ]
    if mine.empty:
        raise ValueError(
            f"{dataset}: no row of {trained_for} words ({transfer}) in the {evaluated_on} model"
        )
    # a concept's name is measured once, not once for each anchor
    by_concept = trained_for == "name"
    keys = (
        mine["concept"] if by_concept else list(zip(mine["concept"], mine["anchor"], strict=True))
    )
    table = pd.Series(mine["value"].to_numpy(), index=pd.Index(keys, tupleize_cols=False))
    table = table.groupby(level=0).mean()
    wanted = [concept for concept, _ in words] if by_concept else list(words)
    return np.array([table.get(key, np.nan) for key in wanted], dtype=np.float64)


def _mean(weight_RW: np.ndarray, value_W: np.ndarray) -> np.ndarray:
    """Weighted means [R] over the words that have a value."""
    there_W = np.isfinite(value_W)
    weight_RW = weight_RW * there_W
    total_R = weight_RW.sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean_R: np.ndarray = weight_RW @ np.where(there_W, value_W, 0) / total_R
    return mean_R


def _ratio(transferred_R: np.ndarray, anchor_R: np.ndarray, own_R: np.ndarray) -> np.ndarray:
    """Retention; nan where training in the target gained too little over the anchor."""
    gain_R = own_R - anchor_R
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gain_R >= LEAST_GAIN, (transferred_R - anchor_R) / gain_R, np.nan)

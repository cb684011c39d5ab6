"""Retention, and what it is made of: pure arithmetic on results.

Retention of a direction (source model, target model) on a dataset is

    (transferred - anchor) / (target's own words - anchor)

a ratio of means over words, in the headline metric of the target's task: 0 is the anchor, 1 a word
that was trained in the target. It is undefined where the denominator is below LEAST_GAIN, as in
small balls around the anchor: such pairs of direction and dataset are counted, and enter no mean.
A direction's retention is the mean over datasets, a method's the mean over directions; *capped*
counts no direction above 1.

Intervals are those of `vwtransfer.results.bootstrap`. Within a dataset all means of a resample are
of the same words, whatever the method, so that differences between methods are paired.

Letters: R resamples, W words (pairs of concept and anchor) of a dataset, M means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from vwtransfer.results.bootstrap import RESAMPLES as RESAMPLES
from vwtransfer.results.bootstrap import Estimate as Estimate
from vwtransfer.results.bootstrap import Unit as Unit
from vwtransfer.results.bootstrap import bootstrap_mean as bootstrap_mean
from vwtransfer.results.bootstrap import mean_of as mean_of
from vwtransfer.results.bootstrap import means_by as means_by
from vwtransfer.results.bootstrap import over_builds as over_builds
from vwtransfer.results.bootstrap import resampled_means, sizes_of, summed
from vwtransfer.results.schema import WORD

LEAST_GAIN = 0.1
UNCONSTRAINED = math.inf
HEADLINE = {
    "generation": "generation_accuracy",
    "detection": "mean_average_precision",
    "classification": "classifier_balanced_accuracy",
}
"""The metric that retention is measured in, for each task."""
BY_IMAGES = {"generation": "photo_accuracy", "classification": "classifier_average_precision"}
"""The same for datasets whose concepts names do not tell apart."""

Direction = tuple[str, str]
"""(source model, target model)"""


def headline(frame: pd.DataFrame, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """The rows that retention is made of: one metric of each dataset in each model, of one delta.

    Baselines are among them. The metric is that of HEADLINE, or of BY_IMAGES in datasets that have
    no row of that; of a task that is in neither, the first by name.
    """
    is_word = (frame["kind"] == WORD).to_numpy()
    wanted = np.where(is_word, delta, UNCONSTRAINED)
    keys = ["dataset", "target_task"]
    found = frame[[*keys, "metric"]].drop_duplicates().astype(str)
    place = [_place(row.target_task, row.metric) for row in found.itertuples()]
    ranked = found.assign(place=place).dropna().sort_values(["place", "metric"])
    first = pd.MultiIndex.from_frame(ranked.drop_duplicates(keys)[[*keys, "metric"]])
    is_first = pd.MultiIndex.from_frame(frame[[*keys, "metric"]]).isin(first)
    return frame[is_first & (frame["delta"] == wanted)].dropna(subset=["value"])


def _place(task: str, metric: str) -> float:
    """Which of a task's metrics come first; nan for those that never do."""
    if task not in HEADLINE:
        return 0
    return {HEADLINE[task]: 0, BY_IMAGES.get(task, ""): 1}.get(metric, math.nan)


def directions(frame: pd.DataFrame, method: str) -> list[Direction]:
    """(source model, target model) of every transfer by a method."""
    rows = frame[frame["transfer"] == method]
    found = rows[["source_model", "target_model"]].astype(str).drop_duplicates()
    return sorted(found.itertuples(index=False, name=None))


def gains(frame: pd.DataFrame, delta: float = UNCONSTRAINED) -> pd.DataFrame:
    """What training gains over the anchor in each model, the denominator of retention.

    Returns:
        A row for each dataset and `target_model`, with `gain`.
    """
    frame = headline(frame, delta)
    own = frame[frame["source_model"].astype(str) == frame["target_model"].astype(str)]
    keys = ["dataset", "target_model"]
    anchor = frame[frame["kind"] == "anchor"]
    means = [rows.groupby(keys, observed=True)["value"].mean() for rows in (own, anchor)]
    return (means[0] - means[1]).dropna().rename("gain").reset_index()


@dataclass(frozen=True)
class Retention:
    """A method's retention.

    Attributes:
        cells: (source model, target model, dataset) -> retention, nan where it is undefined.
    """

    cells: Mapping[tuple[str, str, str], Estimate]

    @cached_property
    def directions(self) -> dict[Direction, Estimate]:
        """Direction -> the mean over datasets."""
        found: dict[Direction, list[Estimate]] = {}
        for (source, target, _), estimate in self.cells.items():
            found.setdefault((source, target), []).append(estimate)
        return {direction: mean_of(each) for direction, each in sorted(found.items())}

    @cached_property
    def overall(self) -> Estimate:
        """The mean over directions."""
        return mean_of(self.directions.values())

    @cached_property
    def capped(self) -> Estimate:
        """The mean over directions, none of which counts above 1."""
        return mean_of(
            Estimate.of(min(each.value, 1.0), np.minimum(each.draws, 1))
            for each in self.directions.values()
        )

    @property
    def undefined(self) -> list[tuple[str, str, str]]:
        """The cells that enter no mean."""
        return [cell for cell, estimate in self.cells.items() if math.isnan(estimate.value)]

    @property
    def defined(self) -> int:
        """How many pairs of direction and dataset the means are over."""
        return len(self.cells) - len(self.undefined)


def retention(
    frame: pd.DataFrame,
    method: str,
    delta: float = UNCONSTRAINED,
    *,
    over_anchor: bool = True,
    unit: Unit = "concept",
    resamples: int = RESAMPLES,
) -> Retention:
    """How much of a word a transfer keeps, in every direction and dataset that the results hold.

    Args:
        frame: results, as `results.read` gives them.
        method: a transfer, or "name" for the concepts' own names: no transfer, but what words can
            do. Its source is "name".
        delta: of the words.
        over_anchor: False for transferred / own, the ratio that the paper's figure 3 allows.
        unit: what is resampled first.
        resamples: R.

    Returns:
        Retention, undefined also where the target's own words or the anchors were not measured.
    """
    frame = headline(frame, delta)
    is_word = frame["kind"] == WORD
    frame = frame.assign(source=frame["source_model"].astype(str).where(is_word, frame["kind"]))
    targets = set(frame.loc[frame["transfer"] != "none", "target_model"])
    cells = {}
    for name, rows in frame.groupby("dataset", observed=True):
        dataset, words = str(name), _words(rows)
        nothing = np.zeros(len(words)), np.zeros(len(words))
        columns = _columns(rows[rows["transfer"].isin(["none", method])], words)
        for source, transfer, target in columns:
            if method not in (source, transfer) or target not in targets:
                continue
            transferred = columns[source, transfer, target]
            own = columns.get((target, "none", target), nothing)
            anchor = columns.get(("anchor", "none", target), nothing)
            each = zip(transferred, own, anchor, strict=True)
            sum_WM, count_WM = (np.stack(column, axis=1) for column in each)
            sizes = sizes_of([concept for concept, _ in words], unit)
            means = resampled_means(sum_WM, count_WM, sizes, dataset, resamples)
            transferred_R, own_R, anchor_R = means.T
            ratio_R = _ratio(transferred_R, own_R, anchor_R if over_anchor else 0 * own_R)
            cells[source, target, dataset] = Estimate.of(ratio_R[0], ratio_R[1:])
    return Retention(cells)


def reached(
    frame: pd.DataFrame,
    delta: float,
    *,
    unit: Unit = "concept",
    resamples: int = RESAMPLES,
) -> Estimate:
    """What words of a delta do in their own model, as a share of the same words unconstrained.

    The mean over datasets and models of ratios of means, in the headline metric; nan where no word
    has both.
    """
    own = frame[frame["source_model"].astype(str) == frame["target_model"].astype(str)]
    both = [
        headline(own, each).groupby(["dataset", "target_model", "concept", "anchor"], observed=True)
        for each in (delta, UNCONSTRAINED)
    ]
    wide = pd.concat([group["value"].mean() for group in both], axis=1, join="inner")
    ratios = []
    for (dataset, _), part in wide.groupby(level=[0, 1], observed=True):
        part = part.sort_index()
        sizes = sizes_of(part.index.get_level_values("concept").to_numpy(dtype=str), unit)
        value_W2 = part.to_numpy(dtype=np.float64)
        counts_W2 = np.ones_like(value_W2)
        at_R, free_R = resampled_means(value_W2, counts_W2, sizes, str(dataset), resamples).T
        ratio_R = _ratio(at_R, free_R, 0 * free_R)
        ratios.append(Estimate.of(ratio_R[0], ratio_R[1:]))
    return mean_of(ratios)


def _ratio(part_R: np.ndarray, whole_R: np.ndarray, zero_R: np.ndarray) -> np.ndarray:
    """(part - zero) / (whole - zero); nan where the denominator is below LEAST_GAIN."""
    gain_R = whole_R - zero_R
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gain_R >= LEAST_GAIN, (part_R - zero_R) / gain_R, np.nan)


def _words(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(concept, anchor) of the trained words of a dataset, in order."""
    trained = rows.loc[rows["kind"] == WORD, ["concept", "anchor"]].astype(str).drop_duplicates()
    return sorted(trained.itertuples(index=False, name=None))


def _columns(
    rows: pd.DataFrame, words: Sequence[tuple[str, str]]
) -> dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]:
    """(source, transfer, target) -> sum [W] and count [W] of the values of each word."""
    rows = rows[["kind", "source", "transfer", "target_model", "concept", "anchor", "value"]]
    is_name = rows["kind"] == "name"  # measured once, and here once for each anchor
    of_words = pd.DataFrame(words, columns=["concept", "anchor"])
    names = rows[is_name].drop(columns="anchor").astype({"concept": str})
    rows = pd.concat([rows[~is_name], names.merge(of_words, on="concept")], ignore_index=True)
    place = {word: number for number, word in enumerate(words)}
    of_word = [place.get(word, -1) for word in zip(rows["concept"], rows["anchor"], strict=True)]
    place_of_row = np.array(of_word, dtype=int)
    rows, place_of_row = rows[place_of_row >= 0], place_of_row[place_of_row >= 0]
    values = rows["value"].to_numpy(dtype=np.float64)
    groups = rows.groupby(["source", "transfer", "target_model"], observed=True).indices
    return {
        key: summed(values[mine], place_of_row[mine], len(words))
        for key, mine in sorted(groups.items())
    }

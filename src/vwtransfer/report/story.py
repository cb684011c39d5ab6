"""The summary in plain words, computed from the numbers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from vwtransfer import published
from vwtransfer.study_folder import StudyFolder
from vwtransfer.summary import BASELINES, HEADLINES, delta_name, in_order

RESAMPLES = 10_000
LEARNED = 0.25  # of what unconstrained words reach: below it a share of it is a share of noise


class Share(NamedTuple):
    """What transferred words keep of in-domain performance, with a 95 % interval over words."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return _percent(self.mean)
        return f"{_percent(self.mean)} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def kept_share(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Share:
    """The mean over `pairs` of mean(transferred) / mean(in-domain), by percentile bootstrap.

    Args:
        pairs: (values of transferred words, values of the evaluated model's own words).
    """
    mean = float(np.mean([moved.mean() / own.mean() for moved, own in pairs]))
    if min(len(values) for pair in pairs for values in pair) < 2:
        return Share(mean, math.nan, math.nan)
    rng = np.random.default_rng(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold zeros only
        ratios = [_resampled(moved, rng) / _resampled(own, rng) for moved, own in pairs]
    # an order statistic: between two infinite ratios there is nothing to interpolate
    means = np.mean(ratios, axis=0)
    low, high = np.nanquantile(means, [0.025, 0.975], method="inverted_cdf")
    return Share(mean, float(low), float(high))


def _resampled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of as many trials drawn with replacement [RESAMPLES]."""
    return values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)


def directions(study: StudyFolder, method: str, delta: float) -> dict[tuple[str, str], Share]:
    """(trained for, evaluated on) -> what transferred words keep, averaged over the datasets.

    In each task's first headline metric; directions whose target learned nothing are left out.
    """
    first = dict(reversed(study.panels))
    frame = study.frame[study.frame["delta"] == delta].dropna(subset="value")
    frame = frame[frame["metric"] == frame["evaluated_on"].map(first)]
    found = {}
    for source in study.tasks:
        for target in first:
            pairs = []
            for dataset in study.datasets:
                part = frame[(frame["dataset"] == dataset) & (frame["evaluated_on"] == target)]
                moved = part[(part["trained_for"] == source) & (part["transfer"] == method)]
                own = part[part["trained_for"] == target]
                if len(moved) and len(own) and own["value"].mean() > 0:
                    pairs.append((moved["value"].to_numpy(), own["value"].to_numpy()))
            if pairs:
                found[source, target] = kept_share(pairs)
    return found


def story(study: StudyFolder) -> list[str]:
    """What came out, a sentence or two for each point; plain text."""
    level = max(study.table["delta"])
    lines = [_what(study), _own(study, level)]
    for method in study.methods:
        lines += _transferred(study, method, level)
    lines += _anchor(study, level)
    lines += _deltas(study)
    if study.published is not None and len(study.methods) <= 1:
        both = published.compared(study.table, study.published)
        if len(both):
            lines.append(
                f"Of {len(both)} values that the paper published, "
                f"{int(both['overlap'].sum())} have an interval that meets ours."
            )
    lines.append(_flaws(study))
    return lines


def _what(study: StudyFolder) -> str:
    words = study.frame[~study.frame["trained_for"].isin(BASELINES)]
    key = ["dataset", "trained_for", "concept", "anchor", "delta", "seed"]
    count = len(words[key].drop_duplicates())
    concepts = len(words[["dataset", "concept"]].drop_duplicates())
    moved = (
        f", and, mapped by {' or '.join(study.methods)}, in the other models"
        if study.methods
        else ""
    )
    return (
        f"{count:,} words for {concepts} concepts of {_listed(study.datasets)} were trained for "
        f"{_listed(study.tasks)}. Each was measured in the model it was trained in{moved}."
    )


def _own(study: StudyFolder, level: float) -> str:
    table, said = study.table, []
    for task, metric in dict(reversed(study.panels)).items():
        own = table[
            (table["delta"] == level)
            & (table["trained_for"] == task)
            & (table["evaluated_on"] == task)
            & (table["metric"] == metric)
            & (table["trials"] > 0)
        ]
        name = HEADLINES.get(metric, metric)
        if len(own) == 1:
            said.append((task, f"{_interval(own.iloc[0])} in {task} ({name})"))
        elif len(own):
            low, high = own["mean"].min(), own["mean"].max()
            said.append((task, f"{low:.2f} to {high:.2f} in {task} ({name}, by dataset)"))
    order = in_order([task for task, _ in said])
    values = [dict(said)[task] for task in order]
    if not values:
        return "No word was measured in the model it was trained in."
    return f"In its own model a word reaches {_listed(values)} ({delta_name(level)})."


def _transferred(study: StudyFolder, method: str, level: float) -> list[str]:
    shares = directions(study, method, level)
    if not shares:
        return []
    mean = float(np.mean([share.mean for share in shares.values()]))
    ranked = sorted(shares.items(), key=lambda item: item[1].mean)
    (worst, least), (best, most) = ranked[0], ranked[-1]
    lines = [
        f"Transferred by {method}, words keep {_percent(mean)} of what the evaluated model's own "
        f"words reach, on average over {len(shares)} directions: {_percent(1 - mean)} is lost."
    ]
    if len(shares) > 1:
        by = f" of {method}" if len(study.methods) > 1 else ""
        lines.append(
            f"The best direction{by} is {best[0]} to {best[1]}, which keeps {most}; the worst is "
            f"{worst[0]} to {worst[1]}, which keeps {least} (95 % intervals over words)."
        )
    return lines


def _anchor(study: StudyFolder, level: float) -> list[str]:
    """Whether transfers carry more than the word they started at."""
    first = dict(reversed(study.panels))
    table = study.table[
        (study.table["metric"] == study.table["evaluated_on"].map(first))
        & (study.table["trials"] > 1)
    ]
    key = ["dataset", "evaluated_on"]
    anchor = table[table["trained_for"] == "anchor"].set_index(key)["high"].rename("anchor_high")
    moved = table[(table["transfer"] != "none") & (table["delta"] == level)]
    both = moved.join(anchor, on=key, how="inner")
    if both.empty:
        return []
    above = int((both["low"] > both["anchor_high"]).sum())
    return [
        f"{above} of {len(both)} transfers do better than the anchor word they started at, by "
        "intervals that do not meet."
    ]


def _deltas(study: StudyFolder) -> list[str]:
    """How far words get that are kept near their anchor."""
    deltas = sorted(delta for delta in study.table["delta"].unique() if math.isfinite(delta))
    if not deltas:
        return []
    lines = []
    reached = [(share, delta) for delta in deltas if (share := _reached(study, delta)) is not None]
    if reached:
        said = [f"{_percent(share)} at {delta_name(delta)}" for share, delta in reached]
        lines.append(
            "Kept near its anchor, a word reaches in its own model, of what the same words reach "
            f"unconstrained: {_listed(said)}."
        )
    learned = [delta for share, delta in reached if share >= LEARNED]
    said = []
    for delta in learned if len(study.methods) == 1 else []:
        shares = directions(study, study.methods[0], delta)
        if shares:
            mean = float(np.mean([share.mean for share in shares.values()]))
            said.append(f"{_percent(mean)} at {delta_name(delta)}")
    if said:
        left_out = len(learned) < len(reached)
        lines.append(
            "Of what in-domain words of the same delta reach, transferred words keep "
            f"{_listed(said)}."
            + " Smaller deltas, where in-domain words learn little, have little to keep."
            * left_out
        )
    return lines


def _reached(study: StudyFolder, delta: float) -> float | None:
    """In-domain performance at a delta over that of the same words unconstrained.

    The mean over datasets and tasks, in each task's first headline metric; None where no word has
    both.
    """
    first = dict(reversed(study.panels))
    frame = study.frame[study.frame["trained_for"] == study.frame["evaluated_on"]]
    frame = frame[frame["metric"] == frame["evaluated_on"].map(first)].dropna(subset="value")
    key = ["dataset", "trained_for", "concept", "anchor", "seed"]
    free, kept = (frame[frame["delta"] == d].set_index(key)["value"] for d in (math.inf, delta))
    both = pd.concat([free.rename("free"), kept.rename("kept")], axis=1, join="inner")
    means = both.groupby(["dataset", "trained_for"]).mean()
    means = means[means["free"] > 0]
    return float((means["kept"] / means["free"]).mean()) if len(means) else None


def other_world(study: StudyFolder) -> str:
    """How the paper's values must not be held against those of other models; empty for its own."""
    if study.published is not None:
        return ""
    models = f"The {study.world} models are" if study.world else "The models may be"
    kept, theirs = _percent(published.kept()), _percent(published.reached(0.5))
    line = (
        f"{models} another world than the paper's, whose values are no measure of these. For "
        f"orientation only: there unconstrained words keep {kept} of in-domain performance, and "
        f"words of delta 0.5 reach {theirs} of what unconstrained ones do in their own model"
    )
    reached = _reached(study, 0.5)
    return f"{line}; here it is {_percent(reached)}." if reached is not None else f"{line}."


def _flaws(study: StudyFolder) -> str:
    failed = study.frame[study.frame["value"].isna()]
    words = failed[["dataset", "trained_for", "concept", "anchor", "delta"]].drop_duplicates()
    counted = f"{len(words):,} word{'s' * (len(words) > 1)}" if len(words) else "No word"
    checked = study.frame[study.frame["unsafe"].isin(["yes", "no"])]
    flagged = int((checked["unsafe"] == "yes").sum())
    safety = (
        f"The safety checker flagged {flagged:,} of {len(checked):,} measurements' images."
        if len(checked)
        else "Generated images were not checked for safety."
    )
    return f"{counted} failed. {safety}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(row: pd.Series) -> str:
    if math.isnan(row["low"]):
        return f"{row['mean']:.2f}"
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)

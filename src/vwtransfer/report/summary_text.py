"""The summary in plain words, computed from the numbers."""

import math
from collections.abc import Sequence

import pandas as pd

from vwtransfer.report.shares import percent, reached, share_of, transferred
from vwtransfer.report.study_reader import StudyFolder
from vwtransfer.results import published
from vwtransfer.results.summary import BASELINES, HEADLINES, delta_name, in_order

LEARNED = 0.25  # of what unconstrained words reach: below it a share of it is a share of noise


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
    so_far = f" So far: {study.incomplete}." if study.incomplete else ""
    return (
        f"{count:,} words for {concepts} concepts of {_listed(study.datasets)} were trained for "
        f"{_listed(study.tasks)}. Each was measured in the model it was trained in{moved}.{so_far}"
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
    pairs = transferred(study, method, level)
    if not pairs:
        return []
    cells = [pair for of_direction in pairs.values() for pair in of_direction]
    kept = share_of(cells)
    lines = [
        f"Transferred by {method}, words keep {kept} of what the evaluated model's own words reach "
        f"({_pairs(len(cells))}; 95 % intervals over words): {percent(1 - kept.mean)} is lost."
    ]
    if len(pairs) > 1:
        shares = {direction: share_of(some) for direction, some in pairs.items()}
        ranked = sorted(shares.items(), key=lambda item: item[1].mean)
        (worst, least), (best, most) = ranked[0], ranked[-1]
        by = f" of {method}" if len(study.methods) > 1 else ""
        lines.append(
            f"The best direction{by} is {best[0]} to {best[1]}, which keeps {most}; the worst is "
            f"{worst[0]} to {worst[1]}, which keeps {least}."
        )
    return lines


def _pairs(count: int) -> str:
    return f"mean over {count} pairs of dataset and direction" if count > 1 else "one direction"


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
    shares = {delta: share for delta in deltas if (share := reached(study, delta)) is not None}
    if not shares:
        return []
    said = [f"{share} at {delta_name(delta)}" for delta, share in shares.items()]
    lines = [
        "Kept near its anchor, a word reaches in its own model, of what the same words reach "
        f"unconstrained: {_listed(said)}."
    ]
    learned = [delta for delta, share in shares.items() if share.mean >= LEARNED]
    said = []
    for delta in learned if len(study.methods) == 1 else []:
        pairs = transferred(study, study.methods[0], delta).values()
        if pairs:
            kept = share_of([pair for of_direction in pairs for pair in of_direction])
            said.append(f"{kept} at {delta_name(delta)}")
    if said:
        left_out = len(learned) < len(shares)
        lines.append(
            "Of what in-domain words of the same delta reach, transferred words keep "
            f"{_listed(said)}."
            + " Smaller deltas, where in-domain words learn little, have little to keep."
            * left_out
        )
    return lines


def other_world(study: StudyFolder) -> str:
    """How the paper's values must not be held against those of other models; empty for its own."""
    if study.published is not None:
        return ""
    models = f"The {study.world} models are" if study.world else "The models may be"
    if study.world == published.WORLD:
        models = "These datasets are"
    kept, theirs = percent(published.kept()), percent(published.reached(0.5))
    line = (
        f"{models} another world than the paper's, whose values are no measure of these. For "
        f"orientation only: there unconstrained words keep {kept} of in-domain performance, and "
        f"words of delta 0.5 reach {theirs} of what unconstrained ones do in their own model"
    )
    ours = reached(study, 0.5)
    return f"{line}; here it is {ours}." if ours is not None else f"{line}."


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


def _interval(row: pd.Series) -> str:
    if math.isnan(row["low"]):
        return f"{row['mean']:.2f}"
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)

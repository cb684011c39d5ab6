"""The summary in plain English, computed from the numbers."""

import math
from collections.abc import Sequence

import pandas as pd

from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.results import published
from vwtransfer.results.schema import WORD
from vwtransfer.results.statistics import LEAST_GAIN, Retention, reached, retention
from vwtransfer.results.summary import HEADLINES, delta_name

RESAMPLED = "95 % intervals resample concepts, then their anchors"


def summary_text(study: StudyFolder) -> list[str]:
    """What came out, a sentence or two for each point; plain text."""
    delta = max(study.deltas, default=math.inf)
    lines = [_measured(study), own_text(study, delta)]
    for method in study.methods:
        lines += _transferred(study, method, delta)
    lines += _anchor(study, delta)
    lines += _deltas(study)
    lines += _published(study)
    lines.append(_flaws(study))
    return lines


def _measured(study: StudyFolder) -> str:
    concepts = len(study.words[["dataset", "concept"]].drop_duplicates())
    moved = (
        f", and, mapped by {' or '.join(study.methods)}, in the other models"
        if study.methods
        else ""
    )
    so_far = f" So far: {study.incomplete}." if study.incomplete else ""
    return (
        f"{len(study.words):,} words for {concepts} concepts of {_listed(study.datasets)} were "
        f"trained in {_listed([study.label(model) for model in study.sources])}. Each was measured "
        f"in the model it was trained in{moved}.{so_far}"
    )


def own_text(study: StudyFolder, delta: float) -> str:
    """What words of a delta reach in the model that they were trained in."""
    table = study.table
    own = table[
        (table["kind"] == WORD)
        & (table["source_model"] == table["target_model"])
        & (table["delta"] == delta)
        & (table["trials"] > 0)
    ]
    said = []
    for model, metric in dict(reversed(study.panels)).items():
        rows = own[(own["target_model"] == model) & (own["metric"] == metric)]
        name = HEADLINES.get(metric, metric)
        if len(rows) == 1:
            said.append(f"{_interval(rows.iloc[0])} in {model} ({name})")
        elif len(rows):
            low, high = rows["mean"].min(), rows["mean"].max()
            said.append(f"{low:.2f} to {high:.2f} in {model} ({name}, by dataset)")
    if not said:
        return "No word was measured in the model it was trained in."
    return f"In its own model a word reaches {_listed(said[::-1])} ({delta_name(delta)})."


def _transferred(study: StudyFolder, method: str, delta: float) -> list[str]:
    found = study.retentions[method, delta]
    if not found.cells:
        return []
    undefined = (
        f" It is undefined in {_pairs(len(found.undefined))} more, where training in the target "
        f"gains less than {LEAST_GAIN} over the anchor, or was not measured."
        if found.undefined
        else ""
    )
    if not found.defined:
        return [f"Retention of {method} is undefined ({delta_name(delta)}).{undefined}"]
    lines = [
        f"Transferred by {method}, words retain {found.overall} of what training in the target "
        f"model gains over the anchor ({delta_name(delta)}; mean over {_pairs(found.defined)}; "
        f"{RESAMPLED}). Capped, with no direction above 1, it is {found.capped}.{undefined}"
    ]
    return lines + _extremes(found, f" of {method}" if len(study.methods) > 1 else "")


def _extremes(found: Retention, of_method: str) -> list[str]:
    """The best and the worst direction, where there are several."""
    defined = {d: e for d, e in found.directions.items() if math.isfinite(e.value)}
    if len(defined) < 2:
        return []
    ranked = sorted(defined.items(), key=lambda item: item[1].value)
    (worst, least), (best, most) = ranked[0], ranked[-1]
    return [
        f"The best direction{of_method} is {best[0]} to {best[1]}, which retains {most}; the worst "
        f"is {worst[0]} to {worst[1]}, which retains {least}."
    ]


def _pairs(count: int) -> str:
    return f"{count} pair{'s' * (count != 1)} of direction and dataset"


def _anchor(study: StudyFolder, delta: float) -> list[str]:
    """Whether transfers carry more than the word they started at."""
    first = dict(reversed(study.panels))
    table = study.table[
        (study.table["metric"] == study.table["target_model"].map(first))
        & (study.table["trials"] > 1)
    ]
    key = ["dataset", "target_model"]
    anchor = table[table["kind"] == "anchor"].set_index(key)["high"].rename("anchor_high")
    moved = table[(table["transfer"] != "none") & (table["delta"] == delta)]
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
    deltas = [delta for delta in study.deltas if math.isfinite(delta)]
    shares = {delta: reached(study.frame, delta) for delta in deltas}
    said = [
        f"{share} at {delta_name(delta)}"
        for delta, share in shares.items()
        if math.isfinite(share.value)
    ]
    lines = []
    if said:
        lines.append(
            "Kept near its anchor, a word reaches in its own model, as a share of what the same "
            f"words reach unconstrained: {_listed(said)}."
        )
    for method in study.methods:
        defined = {delta: study.retentions[method, delta] for delta in deltas}
        said = [f"{r.overall} at {delta_name(d)}" for d, r in defined.items() if r.defined]
        if said:
            lines.append(f"Retention of {method} among words of one delta is {_listed(said)}.")
    return lines


def _published(study: StudyFolder) -> list[str]:
    if study.published is None or len(study.methods) > 1:
        return []
    both = study.compared("".join(study.methods) or "none")
    if both.empty:
        return []
    return [
        f"Of {len(both)} values that the paper published, {int(both['overlap'].sum())} have an "
        "interval that meets ours (here both resample single words, as the paper does)."
    ]


def other_world(study: StudyFolder) -> str:
    """How the paper's values must not be held against those of other models; empty for its own."""
    if study.published is not None:
        return ""
    models = f"The {study.world} models are" if study.world else "The models may be"
    if study.world == published.WORLD:
        models = "These models or datasets are"
    ours = []
    if len(study.methods) == 1:
        ratio = retention(study.frame, study.methods[0], over_anchor=False, unit="word").overall
        if math.isfinite(ratio.value):
            ours.append(f"words keep {ratio}")
    share = reached(study.frame, 0.5, unit="word")
    if math.isfinite(share.value):
        ours.append(f"words of delta 0.5 reach {share}")
    here = f"; here {_listed(ours)}" if ours else ""
    return (
        f"{models} another world than the paper's, whose values are no measure of these. For "
        "orientation only, by the paper's own ratios (of means, without the anchor; intervals "
        f"resample single words): there unconstrained words keep {published.kept():.2f} of "
        f"in-domain performance, and words of delta 0.5 reach {published.reached(0.5):.2f} of what "
        f"unconstrained ones do in their own model{here}."
    )


def _flaws(study: StudyFolder) -> str:
    failed = study.trained.loc[study.trained["value"].isna()]
    words = failed[["dataset", "source_model", "concept", "anchor", "delta"]].drop_duplicates()
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

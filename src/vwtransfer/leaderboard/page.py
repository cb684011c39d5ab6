"""The leaderboard as a page of Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from vwtransfer.results.schema import WORD
from vwtransfer.results.statistics import (
    LEAST_GAIN,
    UNCONSTRAINED,
    Direction,
    Estimate,
    Retention,
    directions,
    gains,
    headline,
    retention,
)

REFERENCE = "least_squares"
SHORT = {"generation": "gen", "detection": "det", "classification": "cls"}
METRICS = {
    "generation": "generation accuracy",
    "detection": "mean average precision at IoU 0.5",
    "classification": "balanced accuracy of the classifier",
}


@dataclass(frozen=True)
class Board:
    """What the page is made of.

    Attributes:
        estimates: method -> retention.
        predictors: method -> how well each diagnostic predicts its losses; `predictors`.
        seconds: method -> (of a fit, of a word).
        frame: the results, in each task's headline metric.
        tasks: model -> its task, in the order of the study.
        title: what was measured, in a line.
        notes: what a reader should know: sizes, settings, machine.
        delta: of the words.
    """

    estimates: Mapping[str, Retention]
    predictors: Mapping[str, pd.DataFrame]
    seconds: Mapping[str, tuple[float, float]]
    frame: pd.DataFrame
    tasks: Mapping[str, str]
    title: str
    notes: Sequence[str]
    delta: float = UNCONSTRAINED

    @property
    def ranked(self) -> list[str]:
        """Methods, the one that keeps most first."""
        return ranked(self.estimates)

    @cached_property
    def directions(self) -> list[Direction]:
        """(source model, target model), by target."""
        place = {name: number for number, name in enumerate(self.tasks)}
        found = directions(self.frame, REFERENCE)
        return sorted(found, key=lambda pair: (place[pair[1]], place[pair[0]]))

    def heading(self, pair: Direction) -> str:
        """The two models, each with its task: tiny_sd (gen) > tiny_clip (cls)."""
        return " > ".join(f"{n} ({SHORT.get(self.tasks[n], self.tasks[n])})" for n in pair)


def ranked(estimates: Mapping[str, Retention]) -> list[str]:
    """Methods, the one that keeps most first; as they came where there was nothing to keep."""

    def lost(method: str) -> float:
        kept = estimates[method].overall.value
        return math.inf if math.isnan(kept) else -kept

    return sorted(estimates, key=lost)


def markdown(board: Board, figure: str) -> str:
    """The page.

    Args:
        board: what is on it.
        figure: path of the figure, as the page names it.
    """
    return "\n".join(
        [
            f"# Leaderboard: {board.title}",
            "",
            "Written by `vwtransfer action=benchmark`; what the methods do and why is in "
            "`docs/transfer.md`.",
            "",
            "Retention is (transferred - anchor) / (trained in the target - anchor), measured in "
            "the target model: 0 is the anchor word, 1 a word trained there with images. A "
            "direction's is the mean over datasets, a method's the mean over directions, with 95 % "
            "intervals from resampling concepts, then anchors; *against least squares* is the "
            "paired difference on the same resamples. A transferred word can do better than one "
            "trained in the target; *capped* counts no direction above 1. Behind it each "
            "direction's own metric, measured in the target model, as means over datasets and "
            f"words: {_metrics(board)}.",
            "",
            *_undefined(board),
            *_ranking(board),
            "",
            *_names(board),
            f"![Retention of each method in each direction]({figure})",
            "",
            "## Each direction",
            "",
            *_by_direction(board),
            "",
            "## Correlates of transfer loss",
            "",
            "Spearman's rank correlation of a word's loss (mean of the words trained in the target "
            "less what the transferred word reaches) with each diagnostic of the word in its own "
            "model, within each direction and dataset, averaged; 95 % intervals from resampling "
            "concepts, then anchors.",
            "",
            *_predictors(board),
            "",
            "## What was measured",
            "",
            *(f"- {note}" for note in board.notes),
            "",
        ]
    )


def _metrics(board: Board) -> str:
    """What is measured in the targets' tasks."""
    measured = board.frame[["target_task", "metric"]].astype(str).drop_duplicates()
    found = dict(measured.itertuples(index=False, name=None))
    tasks = dict.fromkeys(board.tasks[target] for _, target in board.directions)
    return ", ".join(METRICS.get(task) or found[task] for task in tasks)


def _undefined(board: Board) -> list[str]:
    """Where training gained too little for retention to mean anything."""
    reference = board.estimates[REFERENCE]
    if not reference.undefined:
        return []
    gained = gains(board.frame, board.delta)
    small = gained[gained["gain"] < LEAST_GAIN]
    each = ", ".join(
        f"{row.target_model} on {row.dataset} ({row.gain:+.2f})" for row in small.itertuples()
    )
    why = f" Words trained in the target gain less than that: {each}." if each else ""
    return [
        f"Retention is undefined where words trained in the target gain less than {LEAST_GAIN} "
        "over the anchor, or are missing: "
        f"{len(reference.undefined)} of {len(reference.cells)} pairs of direction and dataset, "
        f"which enter no mean.{why}",
        "",
    ]


def _ranking(board: Board) -> list[str]:
    frame = headline(board.frame, board.delta)
    frame = frame.assign(source=frame["source_model"].where(frame["kind"] == WORD, frame["kind"]))
    mean = frame.groupby(["transfer", "source", "target_model"], observed=True)["value"].mean()
    rows: list[tuple[str, ...]] = []
    for place, method in enumerate(board.ranked, 1):
        kept, (fit, word) = board.estimates[method], board.seconds[method]
        against = kept.overall - board.estimates[REFERENCE].overall
        rows.append(
            (
                str(place),
                f"`{method}`",
                str(kept.overall),
                "" if method == REFERENCE else _signed(against),
                str(kept.capped),
                *(_number(mean.get((method, *pair))) for pair in board.directions),
                f"{fit:.2f}",
                f"{1000 * word:.1f}",
            )
        )
    targets = [target for _, target in board.directions]
    own = [_number(mean.get(("none", target, target))) for target in targets]
    anchor = [_number(mean.get(("none", "anchor", target))) for target in targets]
    rows.append(("", "trained in the target", "", "", "", *own, "", ""))
    rows.append(("", "anchor word", "", "", "", *anchor, "", ""))
    return _table(
        (
            *("", "method", "retention", "against least squares", "capped"),
            *map(board.heading, board.directions),
            *("fit (s)", "a word (ms)"),
        ),
        rows,
    )


def _names(board: Board) -> list[str]:
    """What the concepts' own names reach: no transfer, but what there is to compare with."""
    if "name" not in set(board.frame["kind"]):
        return []
    named = retention(board.frame, "name", board.delta)
    each = ", ".join(f"{target} {estimate}" for (_, target), estimate in named.directions.items())
    return [
        f"Listed apart, as it is no transfer: the concept's own name, typed, has {named.overall} "
        f"on this scale ({each}).",
        "",
    ]


def _by_direction(board: Board) -> list[str]:
    rows = [
        (
            f"`{method}`",
            *(str(board.estimates[method].directions[pair]) for pair in board.directions),
        )
        for method in board.ranked
    ]
    return _table(("method", *map(board.heading, board.directions)), rows)


def _predictors(board: Board) -> list[str]:
    rows = [
        (
            f"`{row.column}`",
            f"`{method}`",
            f"{row.rho:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
            str(row.groups),
        )
        for method, table in board.predictors.items()
        for row in table[table["groups"] > 0].itertuples()
    ]
    heads = ("diagnostic", "lost by", "rank correlation with the loss", "datasets x directions")
    return _table(heads, rows)


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    return f"{estimate.value:+.2f}{ends}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

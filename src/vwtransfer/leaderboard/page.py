"""The leaderboard as a page of Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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
NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan, np.empty(0))
SHORT = {"generation": "gen", "detection": "det", "classification": "cls"}
METRICS = {
    "generation_accuracy": "generation accuracy",
    "photo_accuracy": "accuracy of generations by the concepts' photos",
    "mean_average_precision": "mean average precision at IoU 0.5",
    "classifier_balanced_accuracy": "balanced accuracy of the classifier",
    "classifier_average_precision": "average precision of images found by the classifier",
}


@dataclass(frozen=True)
class Board:
    """What the page is made of.

    Attributes:
        estimates: method -> retention; the rows of `cheapest` among them.
        seconds: method -> (of a fit, of a word); of these rows none.
        frame: the results, in each task's headline metric.
        tasks: model -> its task, in the order of the study.
        title: what was measured, in a line.
        notes: what a reader should know: sizes, settings, machine.
        delta: of the words.
    """

    estimates: Mapping[str, Retention]
    seconds: Mapping[str, tuple[float, float]]
    frame: pd.DataFrame
    tasks: Mapping[str, str]
    title: str
    notes: Sequence[str]
    delta: float = UNCONSTRAINED

    @cached_property
    def ranked(self) -> list[str]:
        """Methods, the one that keeps most first; last what has no mean over all directions."""

        def lost(method: str) -> float:
            kept = self.overall(method).value
            return math.inf if math.isnan(kept) else -kept

        return sorted(self.estimates, key=lost)

    def overall(self, method: str) -> Estimate:
        """The mean over directions; none where a method is not measured in one of them."""
        return self.estimates[method].overall if self.measured(method) else NO_ESTIMATE

    def capped(self, method: str) -> Estimate:
        """The same, no direction counting above 1."""
        return self.estimates[method].capped if self.measured(method) else NO_ESTIMATE

    def measured(self, method: str) -> bool:
        """Whether a method is measured in every direction."""
        return set(self.directions) <= set(self.estimates[method].directions)

    def of_direction(self, method: str, pair: Direction) -> Estimate:
        """A method's retention in a direction; none where it is not measured."""
        return self.estimates[method].directions.get(pair, NO_ESTIMATE)

    @cached_property
    def directions(self) -> list[Direction]:
        """(source model, target model), by target."""
        place = {name: number for number, name in enumerate(self.tasks)}
        found = directions(self.frame, REFERENCE)
        return sorted(found, key=lambda pair: (place[pair[1]], place[pair[0]]))

    def heading(self, pair: Direction) -> str:
        """The two models, each with its task: tiny_sd (gen) > tiny_clip (cls)."""
        return " > ".join(f"{n} ({SHORT.get(self.tasks[n], self.tasks[n])})" for n in pair)


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
            *_apart(board),
            f"![Retention of each method in each direction]({figure})",
            "",
            "## Each direction",
            "",
            *_by_direction(board),
            "",
            "## What was measured",
            "",
            *(f"- {note}" for note in board.notes),
            "",
        ]
    )


def _metrics(board: Board) -> str:
    """What is measured in the targets' tasks."""
    rows = headline(board.frame, board.delta)[["target_task", "metric"]].astype(str)
    tasks = dict.fromkeys(board.tasks[target] for _, target in board.directions)
    found = [m for task in tasks for m in rows.loc[rows["target_task"] == task, "metric"].unique()]
    return ", ".join(METRICS.get(metric, metric) for metric in found)


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
        kept, seconds = board.overall(method), board.seconds.get(method)
        against = "-" if math.isnan(kept.value) else _signed(kept - board.overall(REFERENCE))
        rows.append(
            (
                str(place),
                f"`{method}`" if seconds else f"*{method}*",
                str(kept),
                "" if method == REFERENCE else against,
                str(board.capped(method)),
                *(_number(mean.get((method, *pair))) for pair in board.directions),
                *((f"{seconds[0]:.2f}", f"{1000 * seconds[1]:.1f}") if seconds else ("", "")),
            )
        )
    targets = [target for _, target in board.directions]
    own = [_number(mean.get(("none", target, target))) for target in targets]
    anchor = [_number(mean.get(("none", "anchor", target))) for target in targets]
    if (typed := _named(board)) is not None:
        each = [_number(mean.get(("none", "name", target))) for target in targets]
        rows.append(("", "concept's name, typed", str(typed.overall), "", "", *each, "", ""))
    rows.append(("", "trained in the target", "", "", "", *own, "", ""))
    rows.append(("", "anchor word", "", "", "", *anchor, "", ""))
    return table(
        (
            *("", "method", "retention", "against least squares", "capped"),
            *map(board.heading, board.directions),
            *("fit (s)", "a word (ms)"),
        ),
        rows,
    )


def _named(board: Board) -> Retention | None:
    """What the concepts' own names reach, where they were measured."""
    if "name" not in set(board.frame["kind"]):
        return None
    return retention(board.frame, "name", board.delta)


def _apart(board: Board) -> list[str]:
    """What is no transfer, but what there is to compare with."""
    said = (
        "In italics, as they make no word: *typed_nearest* types the calibration prompt that the "
        "source reads most like the word; *mapped_output* puts what a linear map predicts of the "
        "target's output in place of it, which can be measured where a model reads one vector off "
        "a prompt."
    )
    for method in (m for m in board.ranked if not board.measured(m)):
        targets = dict.fromkeys(
            target
            for source, target in board.directions
            if (source, target) not in board.estimates[method].directions
        )
        said += f" {method} is not measured in {', '.join(targets)}, and has no mean."
    if (named := _named(board)) is not None:
        each = ", ".join(f"{target} {kept}" for (_, target), kept in named.directions.items())
        said += f" The concept's own name, typed, has {named.overall} on this scale ({each})."
    return [said, ""]


def _by_direction(board: Board) -> list[str]:
    rows = [
        (f"`{method}`", *(str(board.of_direction(method, pair)) for pair in board.directions))
        for method in board.ranked
    ]
    return table(("method", *map(board.heading, board.directions)), rows)


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    ends = "" if math.isnan(estimate.low) else f" [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    return f"{estimate.value:+.2f}{ends}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

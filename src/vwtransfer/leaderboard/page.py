"""The leaderboard as a page of Markdown, and retention as a figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from vwtransfer.report.figures import sheet
from vwtransfer.results.retention import (
    LEAST_GAIN,
    METRICS,
    OVERALL,
    UNCONSTRAINED,
    Estimate,
    directions,
    gains,
    headline,
    mean_of_defined,
    retention,
)
from vwtransfer.results.summary import in_order

REFERENCE = "least_squares"
ALL = (OVERALL, OVERALL)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHORT = {"generation": "gen", "detection": "det", "classification": "cls"}


@dataclass(frozen=True)
class Board:
    """What the page is made of.

    Attributes:
        estimates: method -> direction -> retention; the mean under ALL.
        causes: method -> how well each cause predicts what it loses; `explaining`.
        seconds: method -> (of a fit, of a word).
        frame: the results.
        title: what was measured, in a line.
        notes: what a reader should know: sizes, settings, machine.
        delta: of the words.
    """

    estimates: Mapping[str, Mapping[tuple[str, str], Estimate]]
    causes: Mapping[str, pd.DataFrame]
    seconds: Mapping[str, tuple[float, float]]
    frame: pd.DataFrame
    title: str
    notes: Sequence[str]
    delta: float = UNCONSTRAINED

    @property
    def ranked(self) -> list[str]:
        """Methods, the one that keeps most first."""
        return ranked(self.estimates)


def ranked(found: Mapping[str, Mapping[tuple[str, str], Estimate]]) -> list[str]:
    """Methods, the one that keeps most first; as they came where there was nothing to keep."""
    return sorted(found, key=lambda method: -np.nan_to_num(found[method][ALL].value))


def estimates(
    frame: pd.DataFrame, methods: Sequence[str], delta: float = UNCONSTRAINED
) -> dict[str, dict[tuple[str, str], Estimate]]:
    """Retention of every method."""
    return {method: retention(frame, method, delta=delta) for method in methods}


def markdown(board: Board, figure: str) -> str:
    """The page.

    Args:
        board: what is on it.
        figure: path of the figure, as the page names it.
    """
    there = "name" in set(board.frame["trained_for"])
    named = retention(board.frame, "name", delta=board.delta) if there else None
    return "\n".join(
        [
            f"# Leaderboard: {board.title}",
            "",
            "Written by `vwtransfer action=benchmark`; what the methods do and why is in "
            "[transfer.md](transfer.md).",
            "",
            "Retention is (transferred - anchor) / (trained in the target - anchor), measured in "
            "the target model: 0 is the anchor word, 1 a word trained there with images. Means "
            "over directions and datasets, with 95 % intervals from resampling concepts, then "
            "anchors; *against least squares* is the paired difference on the same resamples. "
            "A carried word can do better than one trained there; *capped* is the mean over "
            "directions with none counted above 1. Behind it each direction's own metric, measured "
            "in the target model, as means over datasets and words: generation accuracy, mean "
            "average precision at IoU 0.5, balanced accuracy of the classifier.",
            "",
            *_not_defined(board),
            *_ranking(board),
            "",
            *([_name_line(named), ""] if named else []),
            f"![Retention of each method in each direction]({figure})",
            "",
            "## Each direction",
            "",
            *_by_direction(board),
            "",
            "## What the loss goes with",
            "",
            "Spearman's rank correlation of a word's loss (mean of the words trained in the target "
            "less what the carried word reaches) with what can be said of the word beforehand, "
            "within each direction and dataset, averaged; 95 % intervals over words.",
            "",
            *_causes(board),
            "",
            "## What was measured",
            "",
            *(f"- {note}" for note in board.notes),
            "",
        ]
    )


def _not_defined(board: Board) -> list[str]:
    """Where training gained too little for retention to mean anything."""
    found = gains(board.frame, board.delta)
    small = found[found["gain"] < LEAST_GAIN]
    if small.empty:
        return []
    each = ", ".join(
        f"{row.evaluated_on} on {row.dataset} ({row.gain:+.2f})" for row in small.itertuples()
    )
    return [
        f"Where words trained in the target gain less than {LEAST_GAIN} over the anchor there is "
        f"nothing to keep, and retention is not defined; not counted, {len(small)} of "
        f"{len(found)}: {each}.",
        "",
    ]


def _ranking(board: Board) -> list[str]:
    frame = headline(board.frame, board.delta)
    mean = frame.groupby(["transfer", "trained_for", "evaluated_on"], observed=True)["value"].mean()
    targets = in_order([task for task in METRICS if task in set(frame["evaluated_on"])])
    pairs = sorted(directions(frame, REFERENCE), key=lambda p: (targets.index(p[1]), p[0]))
    rows = []
    for place, method in enumerate(board.ranked, 1):
        overall, fit, word = board.estimates[method][ALL], *board.seconds[method]
        against = "" if method == REFERENCE else _signed(overall - board.estimates[REFERENCE][ALL])
        rows.append(
            (
                str(place),
                f"`{method}`",
                interval(overall),
                against,
                _number(_capped(board.estimates[method]), 2),
                *(_number(mean.get((method, source, target))) for source, target in pairs),
                f"{fit:.2f}",
                f"{1000 * word:.1f}",
            )
        )
    for label, kind in (("trained in the target", None), ("anchor word", "anchor")):
        values = (_number(mean.get(("none", kind or target, target))) for _, target in pairs)
        rows.append(("", label, "", "", "", *values, "", ""))
    return _table(
        (
            *("", "method", "retention", "against least squares", "capped"),
            *(_arrow(pair) for pair in pairs),
            *("fit (s)", "a word (ms)"),
        ),
        rows,
    )


def _capped(found: Mapping[tuple[str, str], Estimate]) -> float:
    values = [np.minimum([estimate.value], 1.0) for pair, estimate in found.items() if pair != ALL]
    return float(mean_of_defined(values)[0])


def _name_line(named: Mapping[tuple[str, str], Estimate]) -> str:
    """What the concepts' own names reach: no transfer, but what there is to compare with."""
    each = ", ".join(
        f"{target} {interval(estimate)}"
        for (_, target), estimate in named.items()
        if target != OVERALL
    )
    return (
        f"Listed apart, as it is no transfer: the concept's own name, typed, has "
        f"{interval(named[ALL])} on this scale ({each})."
    )


def _by_direction(board: Board) -> list[str]:
    pairs = directions(board.frame, REFERENCE)
    rows = [
        (f"`{method}`", *(interval(board.estimates[method][pair]) for pair in pairs))
        for method in board.ranked
    ]
    return _table(("method", *(_arrow(pair) for pair in pairs)), rows)


def _causes(board: Board) -> list[str]:
    rows = [
        (
            f"`{row.column}`",
            f"`{method}`",
            f"{row.rho:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
            str(row.groups),
        )
        for method, table in board.causes.items()
        for row in table[table["groups"] > 0].itertuples()
    ]
    heads = ("of the word", "lost by", "rank correlation with the loss", "datasets x directions")
    return _table(heads, rows)


@sheet.styled
def figure(board: Board, path: Path) -> list[Path]:
    """Retention of each method (rows) in each direction (panels), with 95 % intervals."""
    pairs = [ALL, *directions(board.frame, REFERENCE)]
    sheet_figure, axes = sheet.panels(len(pairs), 4, 3.4)
    height = 0.24 * len(board.ranked) + 0.9
    sheet_figure.set_figheight(2 * height + 1.2)
    methods = board.ranked[::-1]
    each = [estimate.value for found in board.estimates.values() for estimate in found.values()]
    values = [value for value in each if math.isfinite(value)]
    left, right = min([-0.2, *values]) - 0.1, max([1.2, *values]) + 0.1
    for ax, pair in zip(axes, pairs, strict=True):
        for y, method in enumerate(methods):
            estimate = board.estimates[method][pair]
            colour = COLOURS[1] if method == REFERENCE else COLOURS[0]
            ax.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=1.6)
            ax.plot(estimate.value, y, "o", color=colour, markersize=4.5)
        reference = board.estimates[REFERENCE][pair].value
        ax.axvline(reference, color=COLOURS[1], linewidth=0.9, linestyle=":")
        for level in (0, 1):
            ax.axvline(level, color="#999999", linewidth=0.9)
        ax.set_title("mean over directions" if pair == ALL else _arrow(pair, short=False))
        ax.set_yticks(range(len(methods)), methods if ax in axes[::4] else [])
        ax.set_xlim(left, right)
        ax.set_ylim(-0.7, len(methods) - 0.3)
    legend = [
        Line2D([], [], color=COLOURS[0], marker="o", label="retention, 95 % interval"),
        Line2D([], [], color=COLOURS[1], marker="o", label="the paper's least squares"),
    ]
    title = f"Retention: {board.title}"
    note = (
        "0: the anchor word; 1: a word trained in the target model (grey lines). Intervals that go "
        "on behind the frame are in the table."
    )
    sheet.finish(sheet_figure, legend, title, [note])
    return sheet.write(sheet_figure, path, f"{title}\n{note}")


def _arrow(pair: tuple[str, str], short: bool = True) -> str:
    return " > ".join(SHORT.get(task, task) if short else task for task in pair)


def interval(estimate: Estimate) -> str:
    """A number with its interval; a dash where it is not defined."""
    if math.isnan(estimate.value):
        return "-"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]

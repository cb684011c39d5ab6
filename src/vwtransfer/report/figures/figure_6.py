"""Figure 6 of the paper: performance against the radius of the ball (section 5)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.style import (
    GREY,
    Shown,
    baseline_legend,
    colour_of,
    inked,
    marker_of,
    partial_legend,
    published_legend,
    published_mark,
    share_axis,
)
from vwtransfer.results.schema import WORD
from vwtransfer.words.cells import Cell

PAIR = ["dataset", "concept", "anchor"]
APART = 1.07  # a model's points beside the next one's, so that equal values do not hide each other
BESIDE = 1.29  # published points, to the right of ours


@sheet.styled
def figure_6(shown: Shown, path: str | Path) -> list[Path]:
    """Figure 6: performance against the radius delta of the ball around the anchor (section 5).

    A row of panels for each dataset, a panel for each target model and metric, a line with its 95 %
    band for each source model. The same words unconstrained, if there are any, stand apart at the
    right, the anchor word itself is the line to compare with. Points that lack words are pale.

    Args and raises as `figure_3`; no file is written when the results hold no word with a delta.
    """
    frame = shown.of_transfer()
    constrained = _constrained_words(frame, shown.planned)
    planned = [cell for cell in shown.planned if _pair(cell) in constrained]
    shown = replace(shown, frame=_comparable(frame, constrained), planned=planned)
    table, datasets, sources = shown.table, shown.datasets, shown.sources
    published = shown.published
    if not sources:
        return []
    words = table[table["kind"] == WORD]
    deltas = sorted(d for d in table["delta"].unique() if math.isfinite(d))
    free = np.isinf(words["delta"]).any()
    free = free or (published is not None and np.isinf(published["delta"]).any())
    figure, axes = sheet.panels(len(datasets) * len(shown.panels), len(shown.panels), 3.1)
    where = [(dataset, *panel) for dataset in datasets for panel in shown.panels]
    for ax, (dataset, target, metric) in zip(axes, where, strict=True):
        part = table[
            (table["dataset"] == dataset)
            & (table["target_model"] == target)
            & (table["metric"] == metric)
        ]
        own = part[part["kind"] == WORD]
        for i, source in enumerate(sources):
            place = APART ** (i - (len(sources) - 1) / 2)
            _line(ax, own[own["source_model"] == source], deltas, i, place, source == target)
        if own.empty:
            ax.text(0.5, 0.5, "none", ha="center", color=GREY, transform=ax.transAxes)
        _anchor_line(ax, part[part["kind"] == "anchor"])
        if published is not None:
            chosen = (published["dataset"] == dataset) & (published["target_model"] == target)
            theirs = published[chosen & (published["metric"] == metric)]
            _published_line(ax, theirs, sources, deltas)
        share_axis(ax, metric)
        _delta_axis(ax, deltas, free)
    for ax, (target, _) in zip(axes, shown.panels, strict=False):
        ax.set_title(f"in {shown.label(target)}")
    if len(datasets) > 1:
        for ax, dataset in zip(axes[:: len(shown.panels)], datasets, strict=True):
            ax.set_ylabel(f"{dataset}\n{ax.get_ylabel()}")
    for ax in axes[-len(shown.panels) :]:
        ax.set_xlabel("delta")
    legend = [
        *(
            Line2D([], [], color=colour_of(i), marker=marker_of(i), label=f"trained in {name}")
            for i, name in enumerate(map(shown.label, sources))
        ),
        Line2D([], [], color="black", linewidth=2.4, label="thick: in its own model"),
        *partial_legend(table),
        *baseline_legend(table[table["kind"] == "anchor"]),
        *published_legend(published, "hollow: published", "o"),
    ]
    title = shown.title("Figure 6: performance against delta")
    notes = [
        "Delta is the radius of the ball, in distances from the anchor to its nearest token"
        + ("; free: unconstrained, the same words." if free else "."),
        *shown.notes(),
    ]
    return sheet.finish(figure, legend, title, notes, Path(path))


def _constrained_words(frame: pd.DataFrame, planned: Sequence[Cell]) -> set[tuple[str, str, str]]:
    """(dataset, concept, anchor) of the words that were, or are to be, trained with a delta."""
    trained = frame[(frame["kind"] == WORD) & np.isfinite(frame["delta"])]
    found = trained[PAIR].drop_duplicates().itertuples(index=False, name=None)
    return {*found, *(_pair(cell) for cell in planned if math.isfinite(cell.delta))}


def _comparable(frame: pd.DataFrame, words: set[tuple[str, str, str]]) -> pd.DataFrame:
    """Rows of `words`, constrained and not, and of their anchors.

    A study may hold deltas for some of its words only; a mean over other words beside them would
    look like an effect of delta.
    """
    held = pd.Series(list(zip(*(frame[name] for name in PAIR), strict=True)), index=frame.index)
    return frame[held.isin(words) & frame["kind"].isin([WORD, "anchor"])]


def _pair(cell: Cell) -> tuple[str, str, str]:
    return cell.dataset, cell.concept, cell.anchor


def _line(
    ax: Axes, rows: pd.DataFrame, deltas: Sequence[float], i: int, place: float, own: bool
) -> None:
    colour = colour_of(i)
    style: dict[str, Any] = {"marker": marker_of(i), "markersize": 5, "clip_on": False}
    rows = rows.set_index("delta").reindex([*deltas, math.inf])
    line = rows.loc[deltas]
    places = [delta * place for delta in deltas]
    inks = [inked(colour, row) for _, row in line.iterrows()]
    thickness = 2.4 if own else 1.3
    for k in range(len(deltas) - 1):  # as pale as the paler of its ends
        ends, ink = slice(k, k + 2), min(inks[k], inks[k + 1], key=itemgetter(3))
        ax.plot(places[ends], line["mean"].iloc[ends], color=ink, linewidth=thickness)
    for x, mean, ink in zip(places, line["mean"], inks, strict=True):
        ax.plot(x, mean, color=ink, linewidth=thickness, **style)
    ax.fill_between(places, line["low"], line["high"], color=colour, alpha=0.18, linewidth=0)
    free = rows.loc[math.inf]
    if math.isfinite(free["mean"]):
        x, ink = _place(math.inf, deltas) * place, inked(colour, free)
        whiskers = np.nan_to_num([[free["mean"] - free["low"]], [free["high"] - free["mean"]]])
        ax.errorbar(x, free["mean"], whiskers, color=ink, capsize=2.5, linewidth=1.2, **style)


def _anchor_line(ax: Axes, rows: pd.DataFrame) -> None:
    if len(rows):
        ax.axhline(rows["mean"].iat[0], color=GREY, linewidth=1.1)


def _published_line(
    ax: Axes, rows: pd.DataFrame, sources: Sequence[str], deltas: Sequence[float]
) -> None:
    for _, row in rows[rows["source_model"].isin(sources)].iterrows():
        i = sources.index(row["source_model"])
        x = _place(row["delta"], deltas) * BESIDE * APART ** (i - (len(sources) - 1) / 2)
        published_mark(ax, x, row, colour_of(i), marker_of(i))


def _place(delta: float, deltas: Sequence[float]) -> float:
    """Where on the axis: unconstrained words stand apart, right of the largest delta."""
    return delta if math.isfinite(delta) else 2.4 * max(deltas[-1], _smallest(deltas))


def _smallest(deltas: Sequence[float]) -> float:
    return min((delta for delta in deltas if delta > 0), default=1.0)


def _delta_axis(ax: Axes, deltas: Sequence[float], free: bool) -> None:
    """A logarithmic axis that has room for a delta of 0, and for words without one."""
    smallest, place = _smallest(deltas), _place(math.inf, deltas)
    ax.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    ticks = {delta: f"{delta:g}" for delta in deltas} | ({place: "free"} if free else {})
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.set_xlim(deltas[0] - 0.2 * smallest, 1.5 * place if free else 0.6 * place)
    if free:
        ax.axvline(0.7 * place, color="#999999", linestyle=(0, (1, 3)), linewidth=1)

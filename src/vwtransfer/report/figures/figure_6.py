"""Figure 6 of the paper: performance against the radius of the ball (section 5)."""

import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.study import (
    COLOURS,
    GREY,
    MARKERS,
    baseline_legend,
    inked,
    notes_of,
    of_transfer,
    partial_legend,
    published_legend,
    published_mark,
    share_axis,
    tasks_of,
    title_of,
)
from vwtransfer.results.summary import BASELINES, DATASETS, in_order, means, panels
from vwtransfer.words.cells import Cell

WORD = ["dataset", "concept", "anchor"]
APART = 1.07  # a task's points beside the next one's, so that equal values do not hide each other
BESIDE = 1.29  # published points, to the right of ours


@sheet.styled
def figure_6(
    frame: pd.DataFrame,
    path: str | Path,
    *,
    transfer: str | None = None,
    planned: Sequence[Cell] = (),
    published: pd.DataFrame | None = None,
    published_label: str = "published",
    world: str = "",
) -> list[Path]:
    """Figure 6: performance against the radius delta of the ball around the anchor (section 5).

    A row of panels for each dataset, a panel for each model and metric, a line with its 95 % band
    for each task that words were trained for. The same words unconstrained, if there are any, stand
    apart at the right, the anchor word itself is the line to compare with. Points that lack words
    are pale.

    Args and raises as `figure_3`; no file is written when the results hold no word with a delta.
    """
    frame = of_transfer(frame, transfer)
    constrained = _constrained_words(frame, planned)
    frame = _comparable(frame, constrained)
    planned = [cell for cell in planned if _word(cell) in constrained]
    table = means(frame, planned)
    datasets = in_order({*table["dataset"], *(cell.dataset for cell in planned)}, DATASETS)
    tasks, shown = tasks_of(table, planned), panels(table)
    if not tasks:
        return []
    deltas = sorted(d for d in table["delta"].unique() if math.isfinite(d))
    free = np.isinf(table.loc[table["trained_for"].isin(tasks), "delta"]).any()
    free = free or (published is not None and np.isinf(published["delta"]).any())
    figure, axes = sheet.panels(len(datasets) * len(shown), len(shown), 3.1)
    where = [(dataset, *panel) for dataset in datasets for panel in shown]
    for ax, (dataset, evaluated_on, metric) in zip(axes, where, strict=True):
        part = table[
            (table["dataset"] == dataset)
            & (table["evaluated_on"] == evaluated_on)
            & (table["metric"] == metric)
        ]
        for i, task in enumerate(tasks):
            _line(ax, part[part["trained_for"] == task], deltas, i, task == evaluated_on)
        if not part["trained_for"].isin(tasks).any():
            ax.text(0.5, 0.5, "none", ha="center", color=GREY, transform=ax.transAxes)
        _anchor_line(ax, part[part["trained_for"] == "anchor"])
        if published is not None:
            _published_line(ax, published, dataset, metric, tasks, deltas)
        share_axis(ax, metric)
        _delta_axis(ax, deltas, free)
    for ax, (evaluated_on, _) in zip(axes, shown, strict=False):
        ax.set_title(f"evaluated in {evaluated_on}")
    if len(datasets) > 1:
        for ax, dataset in zip(axes[:: len(shown)], datasets, strict=True):
            ax.set_ylabel(f"{dataset}\n{ax.get_ylabel()}")
    for ax in axes[-len(shown) :]:
        ax.set_xlabel("delta")
    legend = [
        *(
            Line2D([], [], color=COLOURS[i], marker=MARKERS[i], label=f"trained for {t}")
            for i, t in enumerate(tasks)
        ),
        Line2D([], [], color="black", linewidth=2.4, label="thick: in its own model"),
        *partial_legend(table),
        *baseline_legend(table[table["trained_for"] == "anchor"]),
        *published_legend(published, f"hollow: {published_label}", "o"),
    ]
    title = title_of("Figure 6: performance against delta", frame, world, planned)
    notes = [
        "Delta is the radius of the ball, in distances from the anchor to its nearest word"
        + ("; free: unconstrained, the same words." if free else "."),
        *notes_of(frame, table, planned),
    ]
    sheet.finish(figure, legend, title, notes)
    return sheet.write(figure, Path(path), "\n".join([title, *notes]))


def _constrained_words(frame: pd.DataFrame, planned: Sequence[Cell]) -> set[tuple[str, str, str]]:
    """(dataset, concept, anchor) of the words that were, or are to be, trained with a delta."""
    trained = frame[~frame["trained_for"].isin(BASELINES) & np.isfinite(frame["delta"])]
    found = trained[WORD].drop_duplicates().itertuples(index=False, name=None)
    return {*found, *(_word(cell) for cell in planned if math.isfinite(cell.delta))}


def _comparable(frame: pd.DataFrame, words: set[tuple[str, str, str]]) -> pd.DataFrame:
    """Rows of `words`, constrained and not, and of their anchors.

    A study may hold deltas for some of its words only; a mean over other words beside them would
    look like an effect of delta.
    """
    held = pd.Series(list(zip(*(frame[name] for name in WORD), strict=True)), index=frame.index)
    return frame[held.isin(words) & ~frame["trained_for"].isin(set(BASELINES) - {"anchor"})]


def _word(cell: Cell) -> tuple[str, str, str]:
    return cell.dataset, cell.concept, cell.anchor


def _line(ax: Axes, rows: pd.DataFrame, deltas: Sequence[float], i: int, own: bool) -> None:
    style: dict[str, Any] = {"marker": MARKERS[i], "markersize": 5, "clip_on": False}
    rows = rows.set_index("delta").reindex([*deltas, math.inf])
    line = rows.loc[deltas]
    places = [delta * APART ** (i - 1) for delta in deltas]
    inks = [inked(COLOURS[i], row) for _, row in line.iterrows()]
    thickness = 2.4 if own else 1.3
    for k in range(len(deltas) - 1):  # as pale as the paler of its ends
        ends, ink = slice(k, k + 2), min(inks[k], inks[k + 1], key=itemgetter(3))
        ax.plot(places[ends], line["mean"].iloc[ends], color=ink, linewidth=thickness)
    for x, mean, ink in zip(places, line["mean"], inks, strict=True):
        ax.plot(x, mean, color=ink, linewidth=thickness, **style)
    ax.fill_between(places, line["low"], line["high"], color=COLOURS[i], alpha=0.18, linewidth=0)
    free = rows.loc[math.inf]
    if math.isfinite(free["mean"]):
        x, ink = _place(math.inf, deltas) * APART ** (i - 1), inked(COLOURS[i], free)
        whiskers = np.nan_to_num([[free["mean"] - free["low"]], [free["high"] - free["mean"]]])
        ax.errorbar(x, free["mean"], whiskers, color=ink, capsize=2.5, linewidth=1.2, **style)


def _anchor_line(ax: Axes, rows: pd.DataFrame) -> None:
    if len(rows):
        ax.axhline(rows["mean"].iat[0], color=GREY, linewidth=1.1)


def _published_line(
    ax: Axes,
    published: pd.DataFrame,
    dataset: str,
    metric: str,
    tasks: Sequence[str],
    deltas: Sequence[float],
) -> None:
    rows = published[(published["dataset"] == dataset) & (published["metric"] == metric)]
    rows = rows[rows["trained_for"].isin(tasks)]
    for _, row in rows.iterrows():
        i = tasks.index(row["trained_for"])
        x = _place(row["delta"], deltas) * BESIDE * APART ** (i - 1)
        published_mark(ax, x, row, COLOURS[i], MARKERS[i])


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

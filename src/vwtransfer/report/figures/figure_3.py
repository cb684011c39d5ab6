"""Figure 3 of the paper: in-domain and transferred performance, unconstrained (section 4)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.study import (
    BASELINE_STYLES,
    COLOURS,
    GREY,
    baseline_legend,
    inked,
    is_partial,
    notes_of,
    of_transfer,
    partial_legend,
    published_legend,
    published_mark,
    share_axis,
    tasks_of,
    title_of,
)
from vwtransfer.results.summary import DATASETS, in_order, means, panels
from vwtransfer.words.cells import Cell

OWN: dict[str, Any] = {"edgecolor": "black", "linewidth": 1.4}
TOO_LOW = 0.01  # bars beneath are not seen: their value is written
TRANSFERRED: dict[str, Any] = {"edgecolor": "white", "linewidth": 0, "hatch": "////"}


@sheet.styled
def figure_3(
    frame: pd.DataFrame,
    path: str | Path,
    *,
    transfer: str | None = None,
    planned: Sequence[Cell] = (),
    published: pd.DataFrame | None = None,
    published_label: str = "published",
    world: str = "",
) -> list[Path]:
    """Figure 3: unconstrained words in their own model and transferred, against the baselines.

    A panel for each model and metric, a group of bars for each dataset, a bar for each task that
    words were trained for; whiskers are 95 % intervals over words. A bar too low to be seen has its
    value written above it; one that lacks words is pale and says over how many it is.

    Args:
        frame: results as `results.read` gives them.
        path: where to write, without an ending: .png and .pdf are added.
        transfer: the method to show; needed only when the results hold several.
        planned: the study's cells, to tell what is missing.
        published: values to mark beside ours, with the columns dataset, metric, trained_for,
            delta, mean, ci_low and ci_high.
        published_label: what the legend calls them.
        world: the models' name, for the title.

    Returns:
        The files written; none when the results hold no unconstrained words.

    Raises:
        UserError: the method is not among the results, or has to be chosen.
    """
    frame = of_transfer(frame, transfer)
    frame = frame[np.isinf(frame["delta"])]
    planned = [cell for cell in planned if math.isinf(cell.delta)]
    table = means(frame, planned)
    datasets = in_order({*table["dataset"], *(cell.dataset for cell in planned)}, DATASETS)
    tasks, shown = tasks_of(table, planned), panels(table)
    if not tasks:
        return []
    columns = len(shown) if len(datasets) < 3 else math.ceil(len(shown) / 2)
    width = max(2.6, 0.6 + len(datasets))
    figure, axes = sheet.panels(len(shown), columns, width)
    for ax, (evaluated_on, metric) in zip(axes, shown, strict=True):
        part = table[(table["evaluated_on"] == evaluated_on) & (table["metric"] == metric)]
        _bars(ax, part, datasets, tasks, evaluated_on)
        if published is not None:
            _published_bars(ax, published, metric, datasets, tasks)
        ax.set_title(f"evaluated in {evaluated_on}")
        share_axis(ax, metric)
        ax.set_xticks(range(len(datasets)), datasets)
        ax.set_xlim(-0.6, len(datasets) - 0.4)
    legend = [
        *(Patch(color=COLOURS[i], label=f"trained for {t}") for i, t in enumerate(tasks)),
        Patch(facecolor="white", edgecolor="black", linewidth=1.4, label="in its own model"),
        Patch(facecolor="white", edgecolor=GREY, hatch="////", label="transferred"),
        *partial_legend(table),
        *baseline_legend(table),
        *published_legend(published, published_label),
    ]
    title = title_of("Figure 3: words in their own model and transferred", frame, world, planned)
    notes = notes_of(frame, table, planned)
    sheet.finish(figure, legend, title, notes)
    return sheet.write(figure, Path(path), "\n".join([title, *notes]))


def _bars(
    ax: Axes, part: pd.DataFrame, datasets: Sequence[str], tasks: Sequence[str], own: str
) -> None:
    width = 0.8 / len(tasks)
    for x, dataset in enumerate(datasets):
        rows = part[part["dataset"] == dataset].set_index("trained_for")
        for i, task in enumerate(tasks):
            centre = x + (i - (len(tasks) - 1) / 2) * width
            if task not in rows.index or not rows.at[task, "trials"]:
                ax.text(centre, 0.01, "none", rotation=90, ha="center", va="bottom", color=GREY)
                continue
            row = rows.loc[task]
            style = OWN if task == own else TRANSFERRED
            ax.bar(centre, row["mean"], 0.9 * width, color=inked(COLOURS[i], row), **style)
            _said(ax, centre, row)
            if math.isfinite(row["low"]):
                ends = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
                ax.errorbar(centre, row["mean"], ends, color="black", linewidth=1, capsize=2.5)
        for baseline, line in BASELINE_STYLES.items():
            if baseline in rows.index:
                level = rows.at[baseline, "mean"]
                ax.hlines(level, x - 0.46, x + 0.46, GREY, line, linewidth=1.1)


def _said(ax: Axes, x: float, row: pd.Series) -> None:
    """Writes the value of a bar that is too low to be seen, the words of one that lacks some."""
    low, partial = row["mean"] < TOO_LOW, is_partial(row)
    value = f"{row['mean']:.1g}" if low else ""
    planned = int(row["trials"] + row["missing"] + row["failed"])
    words = f"{row['trials']:.0f} of {planned}" if partial else ""
    if low or partial:
        said = f"{value} ({words})" if low and partial else value or words
        text = ax.text(x, 0.02, said, ha="center", va="bottom", fontsize=8, rotation=90 * partial)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
        text.set_zorder(5)


def _published_bars(
    ax: Axes,
    published: pd.DataFrame,
    metric: str,
    datasets: Sequence[str],
    tasks: Sequence[str],
) -> None:
    rows = published[(published["metric"] == metric) & np.isinf(published["delta"])]
    rows = rows[rows["dataset"].isin(datasets) & rows["trained_for"].isin(tasks)]
    for _, row in rows.iterrows():
        i = tasks.index(row["trained_for"]) - (len(tasks) - 1) / 2
        published_mark(ax, datasets.index(row["dataset"]) + (i + 0.3) * 0.8 / len(tasks), row)

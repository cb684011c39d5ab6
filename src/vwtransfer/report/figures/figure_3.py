"""Figure 3 of the paper: in-domain and transferred performance, unconstrained (section 4)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.style import (
    BASELINE_STYLES,
    GREY,
    Shown,
    baseline_legend,
    colour_of,
    inked,
    is_partial,
    partial_legend,
    published_legend,
    published_mark,
    share_axis,
)
from vwtransfer.results.schema import WORD

OWN: dict[str, Any] = {"edgecolor": "black", "linewidth": 1.4}
TOO_LOW = 0.01  # bars beneath are not seen: their value is written
TRANSFERRED: dict[str, Any] = {"edgecolor": "white", "linewidth": 0, "hatch": "////"}
MOST_COLUMNS = 4


@sheet.styled
def figure_3(shown: Shown, path: str | Path) -> list[Path]:
    """Figure 3: unconstrained words in their own model and transferred, against the baselines.

    A panel for each target model and metric, a group of bars for each dataset, a bar for each
    source model; whiskers are 95 % intervals. A bar too low to be seen has its value written above
    it; one that lacks words is pale and says over how many it is.

    Args:
        shown: what of a study.
        path: where to write, without an ending: .png and .pdf are added.

    Returns:
        The files written; none when the results hold no unconstrained words.

    Raises:
        UserError: the method is not among the results, or has to be chosen.
    """
    frame = shown.of_transfer()
    frame = frame[np.isinf(frame["delta"])]
    planned = [cell for cell in shown.planned if math.isinf(cell.delta)]
    shown = replace(shown, frame=frame, planned=planned)
    table, datasets, sources = shown.table, shown.datasets, shown.sources
    if not sources:
        return []
    rows = max(math.ceil(len(shown.panels) / MOST_COLUMNS), 1 if len(datasets) < 3 else 2)
    width = max(2.6, 0.6 + len(datasets) * max(1.0, 0.32 * len(sources)))
    figure, axes = sheet.panels(len(shown.panels), math.ceil(len(shown.panels) / rows), width)
    for ax, (target, metric) in zip(axes, shown.panels, strict=True):
        part = table[(table["target_model"] == target) & (table["metric"] == metric)]
        _bars(ax, part, datasets, sources, target)
        if shown.published is not None:
            _published_bars(ax, shown.published, target, metric, datasets, sources)
        ax.set_title(f"in {shown.label(target)}")
        share_axis(ax, metric)
        ax.set_xticks(range(len(datasets)), datasets)
        ax.set_xlim(-0.6, len(datasets) - 0.4)
    legend = [
        *(
            Patch(color=colour_of(i), label=f"trained in {shown.label(source)}")
            for i, source in enumerate(sources)
        ),
        Patch(facecolor="white", edgecolor="black", linewidth=1.4, label="in its own model"),
        Patch(facecolor="white", edgecolor=GREY, hatch="////", label="transferred"),
        *partial_legend(table),
        *baseline_legend(table),
        *published_legend(shown.published, "published"),
    ]
    title = shown.title("Figure 3: words in their own model and transferred")
    return sheet.finish(figure, legend, title, shown.notes(), Path(path))


def _bars(
    ax: Axes, part: pd.DataFrame, datasets: Sequence[str], sources: Sequence[str], target: str
) -> None:
    width = 0.8 / len(sources)
    for x, dataset in enumerate(datasets):
        here = part[part["dataset"] == dataset]
        rows = here[here["kind"] == WORD].set_index("source_model")
        levels = here[here["kind"] != WORD].set_index("kind")
        for i, source in enumerate(sources):
            centre = x + (i - (len(sources) - 1) / 2) * width
            if source not in rows.index or not rows.at[source, "trials"]:
                ax.text(centre, 0.01, "none", rotation=90, ha="center", va="bottom", color=GREY)
                continue
            row = rows.loc[source]
            style = OWN if source == target else TRANSFERRED
            ax.bar(centre, row["mean"], 0.9 * width, color=inked(colour_of(i), row), **style)
            _write_on_bar(ax, centre, row)
            if math.isfinite(row["low"]):
                ends = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
                ax.errorbar(centre, row["mean"], ends, color="black", linewidth=1, capsize=2.5)
        for baseline, line in BASELINE_STYLES.items():
            if baseline in levels.index:
                level = levels.at[baseline, "mean"]
                ax.hlines(level, x - 0.46, x + 0.46, GREY, line, linewidth=1.1)


def _write_on_bar(ax: Axes, x: float, row: pd.Series) -> None:
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
    target: str,
    metric: str,
    datasets: Sequence[str],
    sources: Sequence[str],
) -> None:
    rows = published[(published["metric"] == metric) & np.isinf(published["delta"])]
    rows = rows[(rows["target_model"] == target) & rows["source_model"].isin(sources)]
    for _, row in rows[rows["dataset"].isin(datasets)].iterrows():
        i = sources.index(row["source_model"]) - (len(sources) - 1) / 2
        published_mark(ax, datasets.index(row["dataset"]) + (i + 0.3) * 0.8 / len(sources), row)

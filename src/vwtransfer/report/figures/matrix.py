"""What is kept of a word on its way from every model to every other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.style import GREY, INTERVALS, Shown
from vwtransfer.results.statistics import LEAST_GAIN, Estimate, headline, retention
from vwtransfer.results.summary import label_of, models_in_order, tasks_of

SIDE = 1.1  # of a cell, inches
DARK = 0.6  # of retention, from which on it is written in white


@sheet.styled
def matrix(shown: Shown, path: str | Path) -> list[Path]:
    """Retention of unconstrained words, source by target, the mean over datasets with intervals.

    On the diagonal stands what words do in their own model, in its task's headline metric. The
    colour counts no retention above 1.

    Args:
        shown: what of a study, with the transfer.
        path: where to write, without an ending: .png and .pdf are added.

    Returns:
        The files written; none when no unconstrained word was transferred.
    """
    frame, method = shown.of_transfer(), shown.transfer
    assert method is not None
    frame = frame[np.isinf(frame["delta"])]
    shown = replace(shown, frame=frame)
    found = retention(frame, method).directions
    if not found:
        return []
    tasks = {model: tasks_of(frame)[model] for direction in found for model in direction}
    models = models_in_order(tasks)
    figure, (ax,) = sheet.panels(1, 1, 2 + SIDE * len(models))
    figure.set_figheight(1 + SIDE / 2 * len(models))
    own = _own(frame)
    for row, source in enumerate(models):
        for column, target in enumerate(models):
            if source == target:
                _cell(ax, row, column, None, f"{own[source]:.2f}" if source in own else "")
            elif (source, target) in found:
                _cell(ax, row, column, found[source, target], "")
    _axes(ax, [label_of(model, tasks) for model in models])
    title = shown.title("Retention from every model to every other")
    notes = [
        f"(transferred - anchor) / (own - anchor), with {INTERVALS}. On the diagonal: what words "
        f"do in their own model. Undefined: they gain less than {LEAST_GAIN} over their anchor."
    ]
    return sheet.finish(figure, [], title, notes, Path(path))


def _own(frame: pd.DataFrame) -> dict[str, float]:
    """What words do in their own model, the mean over datasets."""
    rows = headline(frame)
    rows = rows[rows["source_model"].astype(str) == rows["target_model"].astype(str)]
    by_dataset = rows.groupby(["source_model", "dataset"], observed=True)["value"].mean()
    means: dict[str, float] = by_dataset.groupby("source_model", observed=True).mean().to_dict()
    return means


def _cell(ax: Axes, row: int, column: int, estimate: Estimate | None, text: str) -> None:
    """A direction, or without an estimate a place of the diagonal."""
    ink = GREY
    if estimate is not None and math.isnan(estimate.value):
        text = "undefined"
    elif estimate is not None:
        share = min(max(estimate.value, 0.0), 1.0)  # floats: a colour map takes 1 for an index
        ink = "white" if share > DARK else "black"
        text = str(estimate).replace(" ", "\n", 1)
        face = colormaps["Blues"](share)
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="white"))
    ax.text(column, row, text, color=ink, ha="center", va="center", fontsize=8)


def _axes(ax: Axes, labels: Sequence[str]) -> None:
    ends = -0.5, len(labels) - 0.5
    ax.set(xlim=ends, ylim=ends[::-1], xlabel="measured in", ylabel="trained in")
    ax.set_xticks(range(len(labels)), labels, rotation=30, ha="left")
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.xaxis.set_label_position("top")
    ax.spines[:].set_visible(False)

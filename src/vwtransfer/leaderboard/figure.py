"""Retention of every method as a figure: a panel for each direction."""

import math
from pathlib import Path

from matplotlib.lines import Line2D

from vwtransfer.leaderboard.page import REFERENCE, Board
from vwtransfer.report.figures import sheet

COLOURS = ("#0072B2", "#D55E00")


@sheet.styled
def draw(board: Board, path: Path) -> list[Path]:
    """Retention of each method (rows) in each direction (panels), with 95 % intervals.

    Args:
        board: what is shown.
        path: of the files, without an ending.
    """
    panels = {"mean over directions": {method: board.overall(method) for method in board.ranked}}
    for pair in board.directions:
        title = board.heading(pair)
        panels[title] = {method: board.of_direction(method, pair) for method in board.ranked}
    sheet_figure, axes = sheet.panels(len(panels), 4, 3.4)
    height = 0.24 * len(board.ranked) + 0.9
    sheet_figure.set_figheight(-(-len(panels) // 4) * height + 1.2)
    methods = board.ranked[::-1]
    each = [estimate.value for found in panels.values() for estimate in found.values()]
    values = [value for value in each if math.isfinite(value)]
    left, right = min([-0.2, *values]) - 0.1, max([1.2, *values]) + 0.1
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        for y, method in enumerate(methods):
            estimate = found[method]
            colour = COLOURS[1] if method == REFERENCE else COLOURS[0]
            ax.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=1.6)
            ax.plot(estimate.value, y, "o", color=colour, markersize=4.5)
        ax.axvline(found[REFERENCE].value, color=COLOURS[1], linewidth=0.9, linestyle=":")
        for level in (0, 1):
            ax.axvline(level, color="#999999", linewidth=0.9)
        ax.set_title(title)
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
    return sheet.finish(sheet_figure, legend, title, [note], path)

"""What the figures of a study share: its rows, colours, legends and the text on the sheet."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vwtransfer.errors import UserError
from vwtransfer.results.schema import BASELINES, WORD
from vwtransfer.results.summary import (
    DATASETS,
    HEADLINES,
    in_order,
    incomplete,
    models_in_order,
    shortfalls,
)
from vwtransfer.words.cells import Cell

# Okabe and Ito's palette: told apart by colour-blind readers and, in this order, in grey
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255"]
MARKERS = ["o", "s", "^", "D", "v", "P"]
GREY = "#555555"
BASELINE_STYLES = {"anchor": "-", "name": "--", "random": ":", "chance": "-."}
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markersize": 4.5}  # published, not ours
PALE = 0.35  # what is a mean over some of the words only
INTERVALS = "95 % bootstrap intervals that resample concepts, then their anchors"


def colour_of(number: int) -> str:
    """The colour of a study's source model, by its place in their order."""
    return COLOURS[number % len(COLOURS)]


def marker_of(number: int) -> str:
    """The marker of a study's source model; with the colour, no two of 42 are alike."""
    return MARKERS[number % len(MARKERS)]


def of_transfer(frame: pd.DataFrame, transfer: str | None) -> pd.DataFrame:
    """In-domain rows, baselines and the rows of one method."""
    methods = sorted(set(frame["transfer"]) - {"none"})
    if transfer is None and len(methods) > 1:
        raise UserError(f"the results hold several transfers: choose one of {', '.join(methods)}.")
    if transfer is not None and transfer not in methods:
        held = ", ".join(methods) or "none"
        raise UserError(f"the results hold no transfer {transfer!r}; they hold {held}.")
    return frame[frame["transfer"].isin(["none", *([transfer] if transfer else methods)])]


def sources_of(table: pd.DataFrame, planned: Sequence[Cell], tasks: Mapping[str, str]) -> list[str]:
    """The models that words were, or are to be, trained in; none where no word has results."""
    trained = set(table.loc[table["kind"] == WORD, "source_model"])
    if not trained:
        return []
    trained |= {cell.model for cell in planned}
    return models_in_order({model: tasks.get(model, "") for model in trained})


def title_of(what: str, frame: pd.DataFrame, world: str, planned: Sequence[Cell]) -> str:
    """A title that names the study, its models and datasets, the transfer, and what is missing."""
    methods = " or ".join(sorted(set(frame["transfer"]) - {"none"}))
    datasets = ", ".join(in_order(frame["dataset"].unique(), DATASETS))
    study = f"study {frame['experiment'].iat[0]}"
    suite = [f"{world} models"] if world else []
    by = [f"transferred by {methods}"] if methods else []
    lacking = incomplete(frame, planned)
    lines = [what, "; ".join([study, *suite, datasets, *by])]
    return "\n".join([*lines, *[f"INCOMPLETE: {lacking}"] * bool(lacking)])


def notes_of(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    planned: Sequence[Cell],
    published: pd.DataFrame | None = None,
) -> list[str]:
    """How many words the means are over, what intervals are, and which words are missing."""
    trials = table.loc[table["kind"] == WORD, "trials"]
    words = counted(int(trials.min()), int(trials.max()))
    lacking = "; ".join(shortfalls(frame, planned))
    return [
        f"Means over n = {words} words, with {INTERVALS}.",
        *["Published intervals resample single words."] * (published is not None),
        *[f"{lacking}."] * bool(lacking),
    ]


def is_partial(row: pd.Series) -> bool:
    """Whether a row of `summary.means` lacks words."""
    return bool(row["missing"] + row["failed"] > 0)


def inked(colour: str, row: pd.Series) -> tuple[float, ...]:
    """The colour, pale where words are missing."""
    return to_rgba(colour, PALE if is_partial(row) else 1)


def partial_legend(table: pd.DataFrame) -> list[Patch]:
    """The legend entry of pale marks, where there are any."""
    trained = table[table["kind"] == WORD]
    pale = Patch(color=to_rgba(GREY, PALE), label="pale: over some of the words")
    return [pale] * bool((trained["missing"] + trained["failed"] > 0).any())


def counted(fewest: int, most: int) -> str:
    """`10`, or `8 to 10`."""
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def baseline_legend(table: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the baselines in `table`."""
    held = set(table["kind"])
    return [
        Line2D([], [], color=GREY, linestyle=style, linewidth=1.1, label=BASELINES[baseline])
        for baseline, style in BASELINE_STYLES.items()
        if baseline in held
    ]


def published_legend(published: pd.DataFrame | None, label: str, marker: str = "D") -> list[Line2D]:
    """The legend entry of published values, where there are any."""
    if published is None:
        return []
    return [Line2D([], [], color="black", linestyle="", marker=marker, label=label, **HOLLOW)]


def published_mark(
    ax: Axes, x: float, row: pd.Series, colour: str = "black", marker: str = "D"
) -> None:
    """Marks one published mean with its interval."""
    ends = [[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]]
    ax.errorbar(x, row["mean"], ends, color=colour, marker=marker, elinewidth=1.2, **HOLLOW)


def share_axis(ax: Axes, metric: str) -> None:
    """An axis from 0 to 1, named after the metric."""
    ax.set_ylabel(HEADLINES.get(metric, metric))
    ax.set_ylim(0, 1.03)
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)

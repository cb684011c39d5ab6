"""What the figures of a study share: its rows, colours, legends and the text on the sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
    label_of,
    means,
    models_in_order,
    panels,
    shortfalls,
    tasks_of,
)
from vwtransfer.words.cells import Cell

# Okabe and Ito's palette: told apart by colour-blind readers and, in this order, in grey; those
# behind it, for studies of many models, are of Paul Tol's muted ones
COLOURS = [
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255"),
    *("#999933", "#332288", "#117733", "#DDCC77", "#AA4499", "#777777"),
]
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
    """The marker of a study's source model; with the colour, no two of 78 are alike."""
    return MARKERS[number % len(MARKERS)]


@dataclass(frozen=True, eq=False)
class Shown:
    """What a figure shows: results of a study, and what is known of it beside them.

    Attributes:
        frame: results as `results.read` gives them.
        transfer: the method to show; needed only when the results hold several.
        planned: the study's cells, to tell what is missing.
        tasks: model -> its task, for models that have no results yet.
        published: values to mark beside ours, with the columns dataset, metric, source_model,
            target_model, delta, mean, ci_low and ci_high.
        world: the models' name, for the title.
    """

    frame: pd.DataFrame
    transfer: str | None = None
    planned: Sequence[Cell] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    published: pd.DataFrame | None = None
    world: str = ""

    def of_transfer(self) -> pd.DataFrame:
        """In-domain rows, baselines and the rows of the method.

        Raises:
            UserError: the method is not among the results, or has to be chosen.
        """
        methods, chosen = self._methods, self.transfer
        if chosen is None and len(methods) > 1:
            named = ", ".join(methods)
            raise UserError(f"the results hold several transfers: choose one of {named}.")
        if chosen is not None and chosen not in methods:
            held = ", ".join(methods) or "none"
            raise UserError(f"the results hold no transfer {chosen!r}; they hold {held}.")
        shown = ["none", *([chosen] if chosen else methods)]
        return self.frame[self.frame["transfer"].isin(shown)]

    @property
    def _methods(self) -> list[str]:
        return sorted(set(self.frame["transfer"]) - {"none"})

    @cached_property
    def table(self) -> pd.DataFrame:
        """`summary.means`."""
        return means(self.frame, self.planned)

    @cached_property
    def datasets(self) -> list[str]:
        """Those of the results and of what is planned."""
        named = {*self.table["dataset"], *(cell.dataset for cell in self.planned)}
        return in_order(named, DATASETS)

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """(target model, metric) pairs."""
        return panels(self.table)

    @cached_property
    def _tasks(self) -> Mapping[str, str]:
        return {**self.tasks, **tasks_of(self.table)}

    def label(self, model: str) -> str:
        """A model's name with its task."""
        return label_of(model, self._tasks)

    @cached_property
    def sources(self) -> list[str]:
        """The models that words were, or are to be, trained in; none where no word has results."""
        trained = set(self.table.loc[self.table["kind"] == WORD, "source_model"])
        if not trained:
            return []
        trained |= {cell.model for cell in self.planned}
        return models_in_order({model: self._tasks.get(model, "") for model in trained})

    def title(self, what: str) -> str:
        """A title that names the study, its models and datasets, the transfer, and what lacks."""
        methods = " or ".join(self._methods)
        datasets = ", ".join(in_order(self.frame["dataset"].unique(), DATASETS))
        study = f"study {self.frame['experiment'].iat[0]}"
        suite = [f"{self.world} models"] if self.world else []
        by = [f"transferred by {methods}"] if methods else []
        lacking = incomplete(self.frame, self.planned)
        lines = [what, "; ".join([study, *suite, datasets, *by])]
        return "\n".join([*lines, *[f"INCOMPLETE: {lacking}"] * bool(lacking)])

    def notes(self) -> list[str]:
        """How many words the means are over, what intervals are, and which words are missing."""
        trials = self.table.loc[self.table["kind"] == WORD, "trials"]
        words = counted(int(trials.min()), int(trials.max()))
        lacking = "; ".join(shortfalls(self.frame, self.planned))
        return [
            f"Means over n = {words} words, with {INTERVALS}.",
            *["Published intervals resample single words."] * (self.published is not None),
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

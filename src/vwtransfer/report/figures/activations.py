"""Figures 7 and 12 to 18 of the paper: what each layer of a text encoder makes of words."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vwtransfer.analysis.cluster_purity import FEWEST, chance_of_purity
from vwtransfer.report.figures import sheet
from vwtransfer.report.figures.galleries import spoken
from vwtransfer.report.figures.style import GREY, INTERVALS, counted
from vwtransfer.results.statistics import bootstrap_mean
from vwtransfer.results.summary import delta_name, label_of, models_in_order
from vwtransfer.words.cells import Cell, delta_text

# Paul Tol's muted colours and grey: ten that colour-blind readers tell apart
CONCEPT_COLOURS = [
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777"),
]
ANCHOR_MARKERS = ["o", "s", "^", "v", "D", "P", "X", "<", ">", "*"]
LABELS = {"anchor": ("#D55E00", "o"), "concept": ("#0072B2", "s")}
MEASURES = {"purity": "k-NN purity", "silhouette": "silhouette"}
CURVES = (
    f"Curves: means over words with {INTERVALS}. Purity: the share of a word's k nearest "
    "neighbours with its anchor or concept, k the number of other words that have it; dotted: by "
    "chance."
)
SHEET = ["dataset", "target_model", "delta", "seed"]
ROW = ["source_model", "transfer"]
FIGURES = {  # by dataset and the task of the model
    ("coco", "detection"): "Figure 12",
    ("pascal", "detection"): "Figure 13",
    ("imagenet", "classification"): "Figure 14",
    ("dreambooth", "classification"): "Figure 15",
    ("dreambooth", "generation"): "Figure 16",
    ("imagenet", "generation"): "Figures 17 and 18",
}


def of_first_encoder(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's first text encoder, which is the one that is shown.

    Args:
        rows: of activations/ or neighbours/; tables of a former version name no encoder.
    """
    if "place" not in rows:
        return rows
    first = rows.groupby("target_model", observed=True)["place"].transform("min")
    return rows[rows["place"] == first]


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """How pure clusters are, layer by layer.

    Args:
        rows: of activations/, of one text encoder; see `word_tables.ACTIVATIONS`.

    Returns:
        A row for each value of SHEET, ROW, layer, label ("anchor" or "concept") and measure
        ("purity" or "silhouette"), with `layers`, the `mean` over words with its 95 % interval
        `low` to `high`, `trials`, and `chance` of the purity. Words whose label no other word has
        are left out.
    """
    found = []
    for key, group in rows.groupby([*SHEET, *ROW, "layer"], observed=True):
        for label, measure in product(LABELS, MEASURES):
            valued = group.dropna(subset=f"{label}_{measure}")
            if valued.empty:
                continue
            values, concepts = valued[f"{label}_{measure}"], valued["concept"].tolist()
            mean = bootstrap_mean(values, concepts, dataset=str(key[0]))
            chance = chance_of_purity(group[label]) if measure == "purity" else np.nan
            layers = group["layers"].iat[0]
            numbers = (mean.value, mean.low, mean.high, len(values), chance)
            found.append((*key, layers, label, measure, *numbers))
    columns = [*SHEET, *ROW, "layer", "layers", "label", "measure"]
    return pd.DataFrame(found, columns=[*columns, "mean", "low", "high", "trials", "chance"])


def activation_figures(
    rows: pd.DataFrame,
    folder: Path,
    study: str,
    planned: Sequence[Cell] = (),
    tasks: Mapping[str, str] | None = None,
) -> list[Callable[[], list[Path]]]:
    """What draws a sheet for each dataset, model and delta, and gives its files.

    A row of panels for each source model, the model's own words first: the t-SNE maps of the layers
    of its first text encoder, then the purity of clusters at every layer. Words are coloured by
    concept and marked by anchor. Sets with too few words for a map have no sheet.

    Args:
        rows: of activations/.
        folder: where the files go.
        study: its name, for the titles.
        planned: its cells, to tell how many words are missing.
        tasks: model -> its task.
    """
    if rows.empty:
        return []
    counts = Counter((cell.dataset, cell.model, cell.delta, cell.seed) for cell in planned)
    return [
        partial(_sheet, group, folder, study, counts, tasks or {})
        for _, group in of_first_encoder(rows).groupby(SHEET, observed=True)
        if group.groupby([*ROW, "layer"], observed=True).size().min() >= FEWEST
    ]


def sheet_name(dataset: str, model: str, delta: float, seed: int) -> str:
    """The name of a sheet's files, without an ending."""
    return f"activations-{dataset}-in-{model}-{delta_text(delta)}-{seed}"


@sheet.styled
def _sheet(
    group: pd.DataFrame,
    folder: Path,
    study: str,
    planned: Counter[tuple[str, str, float, int]],
    tasks: Mapping[str, str],
) -> list[Path]:
    dataset, model, delta, seed = group[SHEET].iloc[0]
    measured = curves(group)
    origins = origins_in(group, model, tasks)
    layers = sorted(group.loc[group["x"].notna(), "layer"].unique())
    concepts, anchors = sorted(group["concept"].unique()), sorted(group["anchor"].unique())
    measures = MEASURES if len(measured) else {}
    columns = len(layers) + len(measures)
    figure, axes = sheet.panels(len(origins) * columns, columns, 2.2)
    for row, origin in enumerate(origins):
        panels = axes[row * columns : (row + 1) * columns]
        words = group[(group[ROW] == list(origin)).all(axis=1)]
        for ax, layer in zip(panels, layers, strict=False):
            _map(ax, words[words["layer"] == layer], concepts, anchors)
            ax.set_title(f"layer {layer} of {words['layers'].iat[0]}")
        own = measured[(measured[ROW] == list(origin)).all(axis=1)]
        for ax, measure in zip(panels[len(layers) :], measures, strict=True):
            _curves(ax, own[own["measure"] == measure], measure)
        way = "in its own model" if origin[1] == "none" else f"transferred by {origin[1]}"
        count = int(words.groupby("layer").size().min())
        lacking = (
            f" of {whole}" if (whole := planned[dataset, origin[0], delta, seed]) > count else ""
        )
        panels[0].set_ylabel(f"trained in {origin[0]}\n{way}\nn = {count}{lacking} words")
    figure_name = FIGURES.get((dataset, tasks.get(model, model)), "Figure 7")
    title = (
        f"{figure_name}: activations where prompts are read off, in {encoder_of(group, tasks)}\n"
        f"study {study}; {dataset}; {delta_name(delta)}"
    )
    words = group.groupby([*ROW, "layer"], observed=True).size()
    notes = [
        "Maps by t-SNE, each by itself: only who is near whom has a meaning. "
        f"n = {counted(int(words.min()), int(words.max()))} words in each row. "
        + (CURVES if measures else "No two words share an anchor or a concept: no curves.")
    ]
    path = folder / sheet_name(dataset, model, delta, seed)
    legend = _legend(concepts, anchors, bool(measures))
    return sheet.finish(figure, legend, title, notes, path)


def encoder_of(group: pd.DataFrame, tasks: Mapping[str, str]) -> str:
    """Which text encoder a sheet is of, in words."""
    model = group["target_model"].iat[0]
    several = "encoders" in group and group["encoders"].iat[0] > 1
    which = f"the first text encoder ({group['encoder'].iat[0]})" if several else "the text encoder"
    return f"{which} of {label_of(model, tasks)}"


def origins_in(group: pd.DataFrame, model: str, tasks: Mapping[str, str]) -> list[tuple[str, str]]:
    """(source model, transfer) of a sheet's rows, the model's own words first."""
    held = set(group[ROW].itertuples(index=False, name=None))
    order = models_in_order({source: tasks.get(source, "") for source, _ in held})
    return sorted(held, key=lambda origin: (origin[0] != model, order.index(origin[0]), origin[1]))


def _map(ax: Axes, words: pd.DataFrame, concepts: Sequence[str], anchors: Sequence[str]) -> None:
    for concept, anchor, x, y in words[["concept", "anchor", "x", "y"]].itertuples(index=False):
        colour = CONCEPT_COLOURS[concepts.index(concept) % len(CONCEPT_COLOURS)]
        marker = ANCHOR_MARKERS[anchors.index(anchor) % len(ANCHOR_MARKERS)]
        ax.plot(x, y, marker, color=colour, markersize=4.5, alpha=0.85, markeredgewidth=0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.margins(0.08)


def _curves(ax: Axes, measured: pd.DataFrame, measure: str) -> None:
    for label, (colour, marker) in LABELS.items():
        line = measured[measured["label"] == label].sort_values("layer")
        if line.empty:
            continue
        ax.plot(line["layer"], line["mean"], marker + "-", c=colour, ms=3.5, clip_on=False)
        ax.fill_between(line["layer"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
        if measure == "purity":
            ax.axhline(line["chance"].iat[0], color=colour, linestyle=":", linewidth=1)
    ax.set_title(MEASURES[measure])
    ax.set_ylim((0, 1.03) if measure == "purity" else (-1, 1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("layer")
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(concepts: Sequence[str], anchors: Sequence[str], curved: bool) -> list[Line2D]:
    dots = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=spoken(concept))
        for concept, colour in zip(concepts, CONCEPT_COLOURS, strict=False)
    ]
    marks = [
        Line2D([], [], linestyle="", marker=marker, color=GREY, label=f"anchor {anchor}")
        for anchor, marker in zip(anchors, ANCHOR_MARKERS, strict=False)
    ]
    lines = [
        Line2D([], [], color=colour, marker=marker, label=f"curve: by {label}")
        for label, (colour, marker) in (LABELS.items() if curved else ())
    ]
    return [*dots, *marks, *lines]

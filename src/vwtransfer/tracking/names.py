"""What is logged, by name: the charts of a run and the panels of the dashboard read these.

- <dataset>/<model>/loss_mean, loss_std, anchor_distance_mean, ... while words train; the x axis is
  <dataset>/<model>/step
- words/<dataset>/<model>/<concept>/<anchor>-<delta>-<seed>/loss, ...: the same of single words
- progress/words, progress/trained, progress/failed, progress/measured
- images/<dataset>/<source>_on_<target>: what was drawn, or boxes that were found
- in_domain/<dataset>/<model>_on_<model>/<metric>/delta_<delta>: means over words in their own
  model; transferred/..., baselines/...: the same in other models, and of what they are held to
- by_delta/<dataset>/<source>_on_<target>/<metric>; the x axis is by_delta/delta
- rows, failures: tables with a row per word, transfer and metric, and per failed word
"""

from typing import Any

from vwtransfer.results.schema import BASELINES, WORD
from vwtransfer.words.cells import Cell, delta_text

LOSS, ANCHOR_DISTANCE, PROJECTION_DISTANCE = "loss", "anchor_distance", "projection_distance"
QUANTITIES = (LOSS, ANCHOR_DISTANCE, PROJECTION_DISTANCE)
WORDS, TRAINED, FAILED, MEASURED = (
    f"progress/{each}" for each in ("words", "trained", "failed", "measured")
)
ROWS, FAILURES = "rows", "failures"
DELTA = "by_delta/delta"


def source(row: Any) -> str:
    """Whose word is measured: a model's name, or the kind of a baseline; of an EvalSpec or row."""
    return str(row.source_model if row.kind == WORD else row.kind)


def cell(row: Any) -> Cell:
    """The word that is measured; of an EvalSpec or row."""
    return Cell(row.dataset, row.source_model, row.concept, row.anchor, row.delta, row.seed)


def step(dataset: str, model: str) -> str:
    """The x axis of training."""
    return f"{dataset}/{model}/step"


def training(dataset: str, model: str, quantity: str, statistic: str = "") -> str:
    """One of `QUANTITIES` while training; `statistic` over words: mean or std."""
    return f"{dataset}/{model}/{quantity}" + (f"_{statistic}" if statistic else "")


def of_word(cell: Cell, quantity: str) -> str:
    """The same of a single word, in a run of many."""
    return f"words/{cell.key}/{quantity}"


def images(dataset: str, source: str, target: str) -> str:
    """What a model made of words."""
    return f"images/{dataset}/{source}_on_{target}"


def result(dataset: str, source: str, target: str, metric: str, delta: float) -> str:
    """The mean of a metric over words."""
    transfer = "in_domain" if source == target else "transferred"
    kind = "baselines" if source in BASELINES else transfer
    return f"{kind}/{dataset}/{source}_on_{target}/{metric}/delta_{delta_text(delta)}"


def by_delta(dataset: str, source: str, target: str, metric: str) -> str:
    """The same as a curve over delta."""
    return f"by_delta/{dataset}/{source}_on_{target}/{metric}"


def axes(cells: list[Cell]) -> dict[str, str]:
    """Pattern -> the name that is its x axis."""
    of_training = {
        pattern: step(dataset, name)
        for dataset, name in sorted({(cell.dataset, cell.model) for cell in cells})
        for pattern in (f"{dataset}/{name}/*", f"words/{dataset}/{name}/*")
    }
    return {**of_training, "by_delta/*": DELTA}

"""What is logged, by name: the charts of a run and the panels of the dashboard read these.

- <dataset>/<task>/loss_mean, loss_std, anchor_distance_mean, ... while words train; the x axis is
  <dataset>/<task>/step
- words/<dataset>/<task>/<concept>/<anchor>-<delta>-<seed>/loss, ...: the same of single words
- progress/words, progress/trained, progress/failed, progress/measured
- images/<dataset>/<trained_for>_on_<evaluated_on>: what was drawn, or boxes that were found
- in_domain/<dataset>/<task>_on_<task>/<metric>/delta_<delta>: means over words in their own model;
  transferred/..., baselines/...: the same of words in other models, and of what they are held to
- by_delta/<dataset>/<trained_for>_on_<evaluated_on>/<metric>; the x axis is by_delta/delta
- rows, failures: tables with a row per word, transfer and metric, and per failed word
"""

from vwtransfer.results.summary import BASELINES
from vwtransfer.words.cells import Cell, delta_text

LOSS, ANCHOR_DISTANCE, PROJECTION_DISTANCE = "loss", "anchor_distance", "projection_distance"
QUANTITIES = (LOSS, ANCHOR_DISTANCE, PROJECTION_DISTANCE)
WORDS, TRAINED, FAILED, MEASURED = (
    f"progress/{each}" for each in ("words", "trained", "failed", "measured")
)
ROWS, FAILURES = "rows", "failures"
DELTA = "by_delta/delta"


def step(dataset: str, task: str) -> str:
    """The x axis of training."""
    return f"{dataset}/{task}/step"


def training(dataset: str, task: str, quantity: str, statistic: str = "") -> str:
    """One of `QUANTITIES` while training; `statistic` over words: mean or std."""
    return f"{dataset}/{task}/{quantity}" + (f"_{statistic}" if statistic else "")


def of_word(cell: Cell, quantity: str) -> str:
    """The same of a single word, in a run of many."""
    return f"words/{cell.key}/{quantity}"


def images(dataset: str, trained_for: str, evaluated_on: str) -> str:
    """What a model made of words."""
    return f"images/{dataset}/{_pair(trained_for, evaluated_on)}"


def result(dataset: str, trained_for: str, evaluated_on: str, metric: str, delta: float) -> str:
    """The mean of a metric over words."""
    transfer = "in_domain" if trained_for == evaluated_on else "transferred"
    kind = "baselines" if trained_for in BASELINES else transfer
    pair = _pair(trained_for, evaluated_on)
    return f"{kind}/{dataset}/{pair}/{metric}/delta_{delta_text(delta)}"


def by_delta(dataset: str, trained_for: str, evaluated_on: str, metric: str) -> str:
    """The same as a curve over delta."""
    return f"by_delta/{dataset}/{_pair(trained_for, evaluated_on)}/{metric}"


def axes(datasets: list[str], tasks: list[str]) -> dict[str, str]:
    """Pattern -> the name that is its x axis."""
    of_tasks = {
        pattern: step(dataset, task)
        for dataset in datasets
        for task in tasks
        for pattern in (f"{dataset}/{task}/*", f"words/{dataset}/{task}/*")
    }
    return {**of_tasks, "by_delta/*": DELTA}


def _pair(trained_for: str, evaluated_on: str) -> str:
    return f"{trained_for}_on_{evaluated_on}"

"""What the leaderboard shows of results that were made up, among them a task of a user's own."""

import math
from dataclasses import asdict

import pandas as pd
import pytest

from vwtransfer.leaderboard.benchmark import board_rows
from vwtransfer.leaderboard.page import Board, markdown
from vwtransfer.results import Record
from vwtransfer.results.statistics import retention
from vwtransfer.words.cells import Cell

TASKS = {"tiny_clip": "classification", "blip": "captioning"}
METRICS = {"classification": "classifier_balanced_accuracy", "captioning": "cider"}
METHODS = ("least_squares", "ridge")
CELLS = [
    Cell("d", model, concept, anchor, math.inf, 0)
    for model in TASKS
    for concept in ("star", "moon", "ring")
    for anchor in ("zepu", "muli")
]


def row(cell: Cell, kind: str, transfer: str, target: str, metric: str, value: float) -> Record:
    source = cell.model if kind == "word" else ""
    return Record(
        experiment="e",
        dataset="d",
        concept=cell.concept,
        anchor=cell.anchor,
        delta=math.inf,
        seed=0,
        kind=kind,
        source_model=source,
        source_task=TASKS.get(source, ""),
        transfer=transfer,
        target_model=target,
        target_task=TASKS[target],
        metric=metric,
        value=value,
        num_images=1,
        eval_seconds=0.1,
    )


def made_up(own: float) -> pd.DataFrame:
    """Words of two models, of which ridge keeps more than all: own is what they reach at home."""
    rows = []
    for cell in CELLS:
        (other,) = set(TASKS) - {cell.model}
        for metric in (METRICS[TASKS[cell.model]], "another_metric"):
            rows.append(row(cell, "word", "none", cell.model, metric, own))
            rows.append(row(cell, "anchor", "none", cell.model, metric, 0.2))
        metric = METRICS[TASKS[other]]
        rows.append(row(cell, "word", "least_squares", other, metric, 0.4))
        rows.append(row(cell, "word", "ridge", other, metric, 1.0))
    return pd.DataFrame(map(asdict, rows))


def page(own: float) -> str:
    frame = board_rows(made_up(own), CELLS, METRICS)
    board = Board(
        estimates={method: retention(frame, method) for method in METHODS},
        seconds=dict.fromkeys(METHODS, (1.0, 0.002)),
        frame=frame,
        tasks=TASKS,
        title="made up",
        notes=[],
    )
    return markdown(board, "figure.png")


def test_a_task_of_ones_own_is_measured_in_its_first_metric() -> None:
    text = page(own=0.8)
    assert "balanced accuracy of the classifier, cider." in text
    assert "| blip (captioning) > tiny_clip (cls) | tiny_clip (cls) > blip (captioning) |" in text
    # (0.4 - 0.2) / (0.8 - 0.2), in both directions
    assert "| 2 | `least_squares` | 0.33 [0.33, 0.33] |  | 0.33 [0.33, 0.33] | 0.400 |" in text


def test_no_direction_counts_above_1_where_it_is_capped() -> None:
    row = "| 1 | `ridge` | 1.33 [1.33, 1.33] | +1.00 [+1.00, +1.00] | 1.00 [1.00, 1.00] | 1.000 |"
    assert row in page(own=0.8)


def test_retention_that_is_undefined_is_counted() -> None:
    text = page(own=0.25)
    assert "2 of 2 pairs of direction and dataset, which enter no mean." in text
    assert "blip on d (+0.05), tiny_clip on d (+0.05)." in text
    assert "| `ridge` | - | - | - |" in text


@pytest.mark.parametrize("concepts", [{"star"}, {"star", "moon"}])
def test_concepts_of_the_other_split_do_not_count(concepts: set[str]) -> None:
    chosen = [cell for cell in CELLS if cell.concept in concepts]
    assert set(board_rows(made_up(0.8), chosen, METRICS).concept) == concepts

"""The paper's own values: carried as data, and held against a study's."""

import math

import pandas as pd
import pytest

from vwtransfer.results import published
from vwtransfer.results.summary import means


def test_all_cells_of_figures_3_and_6_are_there() -> None:
    values = published.values()
    cells = values.groupby("figure").size().to_dict()
    assert cells == {3: 4 * 3 * 3, 6: 4 * 3 * 3 * 4}
    assert (values["ci_low"] <= values["mean"]).all()
    assert (values["mean"] <= values["ci_high"]).all()
    assert not values.duplicated(published.KEY).any()


def test_words_keep_thirty_percent_in_the_paper_and_near_their_anchor_lose_nothing() -> None:
    assert published.kept() == pytest.approx(0.30, abs=0.005)
    assert published.reached(0.1) < 0.5
    assert published.reached(0.5) > 0.95


def test_only_a_study_of_the_papers_models_and_datasets_has_published_values() -> None:
    assert published.of_study("tiny", ["tiny_shapes"]) is None
    assert published.of_study("tiny", ["coco"]) is None
    assert published.of_study("paper", ["folder"]) is None
    found = published.of_study("paper", ["coco"])
    assert found is not None
    assert set(found["dataset"]) == {"coco"}


def ours(values: list[float]) -> pd.DataFrame:
    """Means of words trained for and measured by generation on COCO."""
    rows = [
        {
            "experiment": "section4",
            "dataset": "coco",
            "concept": f"concept_{i}",
            "anchor": "cup",
            "delta": math.inf,
            "trained_for": "generation",
            "transfer": "none",
            "evaluated_on": "generation",
            "metric": "generation_accuracy",
            "value": value,
            "seed": 0,
        }
        for i, value in enumerate(values)
    ]
    return means(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("values", "overlap"),
    [
        ([1.0] * 98 + [0.0] * 2, True),
        ([1.0] * 50 + [0.0] * 50, False),
        ([0.99], True),
        ([0.5], False),
    ],
)
def test_intervals_that_share_a_value_overlap(values: list[float], overlap: bool) -> None:
    theirs = published.of_study("paper", ["coco"])
    assert theirs is not None
    (row,) = published.compared(ours(values), theirs).to_dict("records")
    assert row["theirs"] == 0.99
    assert row["difference"] == pytest.approx(row["ours"] - 0.99)
    assert row["overlap"] is overlap

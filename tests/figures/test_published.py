"""The paper's own values: carried as data, and held against a study's."""

import math

import pandas as pd
import pytest

from vwtransfer.results import published
from vwtransfer.results.statistics import bootstrap_mean


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


def ours(values: list[float], model: str = "sd21", target: str = "sd21") -> pd.DataFrame:
    """Words of a generator in a generator, on COCO."""
    rows = [
        {
            "experiment": "section4",
            "dataset": "coco",
            "concept": f"concept_{i}",
            "anchor": "cup",
            "delta": math.inf,
            "kind": "word",
            "source_model": model,
            "source_task": "generation",
            "transfer": "none" if model == target else "least_squares",
            "target_model": target,
            "target_task": "generation",
            "metric": "generation_accuracy",
            "value": value,
            "seed": 0,
        }
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


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


def test_each_model_of_a_task_is_held_against_the_papers() -> None:
    theirs = published.of_study("paper", ["coco"])
    assert theirs is not None
    values = [1.0] * 60 + [0.0] * 40
    pairs = [("sd21", "sd21"), ("sd15", "sd15"), ("sd15", "sd21")]
    frame = pd.concat([ours(values, *pair) for pair in pairs])
    both = published.compared(frame, theirs)
    assert both["source_model"].tolist() == ["sd15", "sd21"]
    assert both["target_model"].tolist() == ["sd15", "sd21"]


def test_intervals_beside_the_papers_resample_words_by_themselves() -> None:
    theirs = published.of_study("paper", ["coco"])
    assert theirs is not None
    values = [1.0, 1.0, 0.0, 0.0] * 5
    frame = ours(values).assign(
        concept=["a", "a", "b", "b"] * 5, anchor=list("abcdefghijklmnopqrst")
    )
    (row,) = published.compared(frame, theirs).to_dict("records")
    alone = bootstrap_mean(values, dataset="coco")
    assert (
        (row["low"], row["high"]) == (alone.low, alone.high) == pytest.approx((0.3, 0.7), abs=0.06)
    )

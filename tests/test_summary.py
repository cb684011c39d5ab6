"""The table at the end of a run: means with intervals, and what is missing of them."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fabricated import study
from vwtransfer.errors import UserError
from vwtransfer.results.intervals import bootstrap_mean
from vwtransfer.results.summary import kept, means, print_summary, shortfalls, write_summary
from vwtransfer.words.cells import Cell


def printed(frame: pd.DataFrame, width: int = 100) -> str:
    text = io.StringIO()
    print_summary(frame, Console(width=width, file=text))
    return text.getvalue()


def without(frame: pd.DataFrame, task: str, concepts: list[str]) -> pd.DataFrame:
    return frame[~((frame["trained_for"] == task) & frame["concept"].isin(concepts))]


def test_a_mean_is_over_the_words_of_one_cell() -> None:
    frame = study(deltas=[0.5])
    table = means(frame).set_index(
        ["dataset", "delta", "trained_for", "transfer", "evaluated_on", "metric"]
    )
    key = ("tiny_shapes", 0.5, "detection", "least_squares", "classification")
    row = table.loc[(*key, "classifier_accuracy")]
    chosen = frame[
        (frame["delta"] == 0.5)
        & (frame["trained_for"] == "detection")
        & (frame["metric"] == "classifier_accuracy")
    ]
    expected = bootstrap_mean(chosen["value"])
    assert (row["mean"], row["low"], row["high"], row["trials"]) == expected
    assert (row["failed"], row["missing"]) == (0, 0)


def test_means_are_the_same_with_text_as_categories() -> None:
    frame = study()
    text = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    pd.testing.assert_frame_equal(
        means(frame), means(frame.astype(dict.fromkeys(text, "category")))
    )


def test_failed_words_are_left_out_of_the_mean_and_counted() -> None:
    frame = study()
    failed = (frame["trained_for"] == "detection") & (frame["concept"] == "concept_0")
    frame.loc[failed, "value"] = np.nan
    table = means(frame)
    detection = table[table["trained_for"] == "detection"]
    assert set(detection["trials"]) == {9}
    assert set(detection["failed"]) == {1}
    assert shortfalls(frame) == [
        "tiny_shapes: 1 of 10 words trained for detection failed (unconstrained)"
    ]


def test_words_that_only_some_tasks_hold_are_missing_from_the_others() -> None:
    frame = without(study(deltas=[0.1, 0.5]), "generation", ["concept_1", "concept_2"])
    assert shortfalls(frame) == [
        "tiny_shapes: 2 of 10 words trained for generation missing (unconstrained)",
        "tiny_shapes: 2 of 3 words trained for generation missing (delta 0.1, delta 0.5)",
    ]
    table = means(frame)
    assert set(table.loc[table["trained_for"] == "generation", "missing"]) == {2}
    assert set(table.loc[table["trained_for"] != "generation", "missing"]) == {0}


def test_a_task_that_has_no_rows_is_missing_from_what_was_planned() -> None:
    frame = without(study(words=2), "detection", ["concept_0", "concept_1"])
    planned = [
        Cell("tiny_shapes", task, f"concept_{i}", f"anchor_{i}", math.inf, 0)
        for task in ("generation", "detection")
        for i in range(3)
    ]
    assert shortfalls(frame, planned) == [
        "tiny_shapes: 1 of 3 words trained for generation missing (unconstrained)",
        "tiny_shapes: 3 of 3 words trained for detection missing (unconstrained)",
    ]


def test_a_complete_study_lacks_nothing() -> None:
    assert shortfalls(study(deltas=[0.5])) == []


def test_results_of_several_experiments_are_not_averaged() -> None:
    frame = pd.concat([study(), study().assign(experiment="other")])
    with pytest.raises(UserError, match=r"mix 2 experiments \(demo, other\)"):
        means(frame)


def test_what_is_kept_is_the_mean_share_of_the_evaluated_models_own_words() -> None:
    table = means(study())
    own = ["generation", "detection", "classification"]
    metrics = {
        "generation": "generation_accuracy",
        "detection": "mean_average_precision",
        "classification": "classifier_accuracy",
    }
    chosen = table[table["metric"] == table["evaluated_on"].map(metrics)]
    chosen = chosen[chosen["trained_for"].isin(own)]
    level = chosen.set_index(["trained_for", "evaluated_on"])["mean"]
    shares = [level[y, x] / level[x, x] for y in own for x in own if x != y]
    share, cells = kept(table)["least_squares"]
    assert share == pytest.approx(np.mean(shares))
    assert cells == 6


def test_the_table_shows_every_interval_on_one_line_of_100_columns() -> None:
    text = printed(study(deltas=[0.1]))
    assert max(map(len, text.splitlines())) <= 100
    row = next(line for line in text.splitlines() if line.startswith(" generation"))
    assert row.count("[") == row.count("]") == 4
    for label in ("anchor word", "concept's name", "random vector", "chance", "least_squares"):
        assert label in text


def test_the_unconstrained_table_is_first_and_deltas_follow() -> None:
    text = printed(study(deltas=[1.0, 0.1]))
    titles = ["tiny_shapes, unconstrained", "tiny_shapes, delta 0.1", "tiny_shapes, delta 1"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_what_was_not_evaluated_or_failed_is_shown_as_such() -> None:
    frame = study()
    frame = frame[~((frame["trained_for"] == "detection") & (frame["transfer"] != "none"))]
    frame.loc[frame["trained_for"] == "classification", "value"] = np.nan
    lines = printed(frame).splitlines()
    detection = next(line for line in lines if line.startswith(" detection")).split()
    classification = next(line for line in lines if line.startswith(" classification"))
    assert detection.count("-") == 3
    assert classification.count("failed") == 4
    assert "10 of 10 words trained for classification failed" in lines[-1]


def test_a_single_word_is_shown_without_an_interval() -> None:
    lines = printed(study(words=1)).splitlines()
    assert "[" not in next(line for line in lines if line.startswith(" generation"))


def test_each_transfer_method_has_its_rows() -> None:
    ridge = study(transfer="ridge")
    text = printed(pd.concat([study(), ridge[ridge["transfer"] == "ridge"]]))
    assert "least_squares or ridge" in text
    assert text.count(" ridge ") >= 3
    assert "by ridge, words keep" in text


def test_the_summary_is_written_as_plain_text(tmp_path: Path) -> None:
    write_summary(study(), tmp_path / "summary.txt")
    text = (tmp_path / "summary.txt").read_text()
    assert "\x1b" not in text
    assert "tiny_shapes, unconstrained" in text
    assert "words keep" in text

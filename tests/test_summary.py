"""The table at the end of a run: means with intervals, and what is missing of them."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fabricated import TWO_GENERATORS, study
from vwtransfer.errors import UserError
from vwtransfer.results.statistics import bootstrap_mean, retention
from vwtransfer.results.summary import (
    means,
    models_in_order,
    panels,
    print_summary,
    retention_lines,
    shortfalls,
    tasks_of,
    write_summary,
)
from vwtransfer.words.cells import Cell


def printed(frame: pd.DataFrame, width: int = 100) -> str:
    text = io.StringIO()
    print_summary(frame, Console(width=width, file=text))
    return text.getvalue()


def without(frame: pd.DataFrame, model: str, concepts: list[str]) -> pd.DataFrame:
    return frame[~((frame["source_model"] == model) & frame["concept"].isin(concepts))]


def test_a_mean_is_over_the_words_of_one_cell() -> None:
    frame = study(deltas=[0.5])
    table = means(frame).set_index(
        ["dataset", "delta", "source_model", "transfer", "target_model", "metric"]
    )
    key = ("tiny_shapes", 0.5, "tiny_owlv2", "least_squares", "tiny_clip")
    row = table.loc[(*key, "classifier_accuracy")]
    chosen = frame[
        (frame["delta"] == 0.5)
        & (frame["source_model"] == "tiny_owlv2")
        & (frame["metric"] == "classifier_accuracy")
    ]
    expected = bootstrap_mean(chosen["value"], chosen["concept"], dataset="tiny_shapes")
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (row["trials"], row["failed"], row["missing"]) == (3, 0, 0)


def test_means_are_the_same_with_text_as_categories() -> None:
    frame = study()
    text = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    pd.testing.assert_frame_equal(
        means(frame), means(frame.astype(dict.fromkeys(text, "category")))
    )


def test_failed_words_are_left_out_of_the_mean_and_counted() -> None:
    frame = study()
    failed = (frame["source_model"] == "tiny_owlv2") & (frame["concept"] == "concept_0")
    frame.loc[failed, "value"] = np.nan
    table = means(frame)
    detection = table[table["source_model"] == "tiny_owlv2"]
    assert set(detection["trials"]) == {9}
    assert set(detection["failed"]) == {1}
    assert shortfalls(frame) == ["tiny_shapes: 1 of 10 words of tiny_owlv2 failed (unconstrained)"]


def test_words_that_only_some_models_hold_are_missing_from_the_others() -> None:
    frame = without(study(deltas=[0.1, 0.5]), "tiny_sd", ["concept_1", "concept_2"])
    assert shortfalls(frame) == [
        "tiny_shapes: 2 of 10 words of tiny_sd missing (unconstrained)",
        "tiny_shapes: 2 of 3 words of tiny_sd missing (delta 0.1, delta 0.5)",
    ]
    table = means(frame)
    assert set(table.loc[table["source_model"] == "tiny_sd", "missing"]) == {2}
    assert set(table.loc[table["source_model"] != "tiny_sd", "missing"]) == {0}


def test_a_model_that_has_no_rows_is_missing_from_what_was_planned() -> None:
    frame = without(study(words=2), "tiny_owlv2", ["concept_0", "concept_1"])
    planned = [
        Cell("tiny_shapes", model, f"concept_{i}", f"anchor_{i}", math.inf, 0)
        for model in ("tiny_sd", "tiny_owlv2")
        for i in range(3)
    ]
    assert shortfalls(frame, planned) == [
        "tiny_shapes: 1 of 3 words of tiny_sd missing (unconstrained)",
        "tiny_shapes: 3 of 3 words of tiny_owlv2 missing (unconstrained)",
    ]


def test_a_complete_study_lacks_nothing() -> None:
    assert shortfalls(study(deltas=[0.5])) == []


def test_results_of_several_experiments_are_not_averaged() -> None:
    frame = pd.concat([study(), study().assign(experiment="other")])
    with pytest.raises(UserError, match=r"mix 2 experiments \(demo, other\)"):
        means(frame)


def test_retention_is_stated_with_its_interval_capped_and_what_it_is_the_mean_of() -> None:
    frame = study()
    (line,) = retention_lines(frame)
    found = retention(frame, "least_squares")
    assert line == (
        f"least_squares: retention {found.overall}, capped {found.capped} (unconstrained; mean "
        "over 6 pairs of direction and dataset)."
    )
    nothing = (frame["source_model"] == "tiny_clip") & (frame["target_model"] == "tiny_clip")
    frame.loc[nothing, "value"] = 0.1
    (line,) = retention_lines(frame)
    assert "mean over 4 pairs of direction and dataset; undefined in 2 more, where" in line


def test_two_models_of_one_task_have_rows_and_columns_of_their_own() -> None:
    frame = study(models=TWO_GENERATORS)
    assert models_in_order(tasks_of(frame)) == ["tiny_sd", "tiny_sd_b", "tiny_owlv2"]
    assert panels(means(frame)) == [
        ("tiny_sd", "generation_accuracy"),
        ("tiny_sd_b", "generation_accuracy"),
        ("tiny_owlv2", "mean_average_precision"),
    ]
    text = printed(frame)
    heads = [line.split() for line in text.splitlines()]
    assert ["tiny_sd", "tiny_sd_b", "tiny_owlv2"] in heads
    assert ["generation", "generation", "detection"] in heads
    row = next(line for line in text.splitlines() if line.startswith(" tiny_sd_b "))
    assert row.count("[") == 3
    assert "mean over 6 pairs" in " ".join(text.split())


def test_many_models_are_shown_some_columns_at_a_time() -> None:
    models = {f"model_{i}": "generation" for i in range(6)}
    text = printed(study(models=models))
    assert max(map(len, text.splitlines())) <= 100
    row = [line for line in text.splitlines() if line.startswith(" model_3")]
    assert [line.count("[") for line in row] == [4, 2]
    assert row[1].startswith(" model_3 (generation) ")


def test_the_table_shows_every_interval_on_one_line_of_100_columns() -> None:
    text = printed(study(deltas=[0.1]))
    assert max(map(len, text.splitlines())) <= 100
    row = next(line for line in text.splitlines() if line.startswith(" tiny_sd "))
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
    frame = frame[~((frame["source_model"] == "tiny_owlv2") & (frame["transfer"] != "none"))]
    frame.loc[frame["source_model"] == "tiny_clip", "value"] = np.nan
    lines = printed(frame).splitlines()
    detection = next(line for line in lines if line.startswith(" tiny_owlv2 ")).split()
    classification = next(line for line in lines if line.startswith(" tiny_clip "))
    assert detection.count("-") == 3
    assert classification.count("failed") == 4
    assert "10 of 10 words of tiny_clip failed" in lines[-1]


def test_a_single_word_is_shown_without_an_interval() -> None:
    lines = printed(study(words=1)).splitlines()
    assert "[" not in next(line for line in lines if line.startswith(" tiny_sd "))


def test_each_transfer_method_has_its_rows() -> None:
    ridge = study(transfer="ridge")
    text = printed(pd.concat([study(), ridge[ridge["transfer"] == "ridge"]]))
    assert "least_squares or ridge" in text
    assert text.count(" ridge ") >= 3
    assert "\nridge: retention 0." in text


def test_the_summary_is_written_as_plain_text(tmp_path: Path) -> None:
    write_summary(study(), tmp_path / "summary.txt")
    text = (tmp_path / "summary.txt").read_text()
    assert "\x1b" not in text
    assert "tiny_shapes, unconstrained" in text
    assert "least_squares: retention 0." in text

"""Results are written whole, never twice, and read in one line of pandas."""

import dataclasses
import math
import textwrap
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from fabricated import study
from vwtransfer import results
from vwtransfer.errors import UserError
from vwtransfer.results import Record, merge

ROW = Record(
    experiment="demo",
    dataset="tiny_shapes",
    concept="red_striped_star",
    anchor="mipo",
    delta=math.inf,
    seed=0,
    kind="word",
    source_model="tiny_sd",
    source_task="generation",
    transfer="least_squares",
    target_model="tiny_owlv2",
    target_task="detection",
    metric="mean_average_precision",
    value=0.25,
    num_images=200,
    eval_seconds=1.5,
    support="320 tokens",
)


def rows(**changes: Any) -> list[Record]:
    """ROW once for each value of the one column that changes."""
    ((column, values),) = changes.items()
    return [dataclasses.replace(ROW, **{column: value}) for value in values]


def test_a_run_is_read_in_one_line_of_pandas(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(delta=[0.1, math.inf]), "a")
    results.write_part(tmp_path, rows(concept=["blue_ring"]), "b")
    finished = results.finish(tmp_path)
    parquet = pd.read_parquet(tmp_path / "results.parquet")
    assert list(parquet.columns) == [field.name for field in dataclasses.fields(Record)]
    pd.testing.assert_frame_equal(parquet, finished)
    pd.testing.assert_frame_equal(results.read(tmp_path / "results.parquet"), finished)
    assert parquet["concept"].tolist() == ["blue_ring", "red_striped_star", "red_striped_star"]


def test_the_csv_holds_the_same_with_inf_and_nan_read_back(tmp_path: Path) -> None:
    failed = dataclasses.replace(ROW, concept="star, red", value=math.nan)
    results.write_part(tmp_path, [*rows(delta=[0.1, math.inf]), failed], "a")
    finished = results.finish(tmp_path)
    csv = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, na_values={"value": ""})
    for name in results.SCHEMA.names:
        assert csv[name].tolist() == finished[name].tolist() or finished[name].isna().any()
    assert csv["value"].isna().tolist() == finished["value"].isna().tolist()
    assert ",inf," in (tmp_path / "results.csv").read_text()


def test_the_first_three_questions_are_answered_as_documented(tmp_path: Path) -> None:
    frame = study(deltas=[0.5])
    lost = (frame["source_model"] == "tiny_owlv2") & (frame["concept"] == "concept_2")
    frame["value"] = frame["value"].mask(lost)
    results.write_part(tmp_path, [Record(**row) for row in frame.to_dict("records")], "all")
    code = str(results.__doc__).partition("The three questions asked first:")[2]
    answers: dict[str, Any] = {}
    exec(textwrap.dedent(code).replace("outputs/demo", str(tmp_path)), answers)

    moved = frame[(frame["source_model"] == "tiny_sd") & (frame["delta"] == math.inf)]
    expected = moved.loc[moved["metric"] == "classifier_accuracy", "value"].mean()
    place = ("tiny_shapes", "tiny_sd", "least_squares")
    assert answers["reached"].loc[place, "classifier_accuracy"] == pytest.approx(expected)
    table = answers["table"].set_index(["source_model", "metric", "delta"])
    mean, low, high = table.loc[("tiny_sd", "classifier_accuracy", math.inf)][
        ["mean", "low", "high"]
    ]
    assert mean == pytest.approx(expected)
    assert low < mean < high
    assert 0 < answers["kept"].overall.value < 1
    assert answers["kept"].defined == 6
    assert answers["best"]["value"].is_monotonic_decreasing
    assert set(answers["failed"]["concept"]) == {"concept_2"}


def test_every_column_is_documented() -> None:
    for column in results.SCHEMA.names:
        assert len(results.DESCRIPTIONS[column].split()) > 1


def test_the_first_whole_part_of_a_unit_of_work_stands(tmp_path: Path) -> None:
    first = results.write_part(tmp_path, rows(value=[0.25]), "shapes/star")
    written = first.read_bytes()
    again = results.write_part(tmp_path, rows(value=[0.75]), "shapes/star")
    assert again == first
    assert first.read_bytes() == written


def test_a_cut_off_part_is_written_again(tmp_path: Path) -> None:
    part = results.write_part(tmp_path, rows(value=[0.25]), "shapes/star")
    part.write_bytes(part.read_bytes()[:-50])
    results.write_part(tmp_path, rows(value=[0.75]), "shapes/star")
    assert results.read(tmp_path)["value"].tolist() == [0.75]


def test_units_of_work_with_similar_names_do_not_share_a_part(tmp_path: Path) -> None:
    keys = ["a/b", "a-b", "a b", "A/b", "x" * 200, "x" * 201]
    assert len({results.part_path(tmp_path, key).name for key in keys}) == len(keys)


def test_a_record_that_was_written_twice_counts_once_and_the_first_stands(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(value=[0.25]), "z: the whole shard")
    results.write_part(tmp_path, rows(value=[0.75]), "a: one word, tried again")
    assert results.read(tmp_path)["value"].tolist() == [0.25]
    assert results.finish(tmp_path)["value"].tolist() == [0.25]


def test_a_finished_table_stands_in_for_parts_that_are_gone(tmp_path: Path) -> None:
    part = results.write_part(tmp_path, rows(value=[0.25]), "a")
    results.finish(tmp_path)
    part.unlink()
    results.write_part(tmp_path, rows(concept=["blue_ring"]), "b")
    assert results.read(tmp_path)["concept"].tolist() == ["blue_ring", "red_striped_star"]


def test_a_cut_off_part_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(concept=["blue_ring"]), "whole")
    part = results.write_part(tmp_path, rows(concept=["red_ring"]), "cut")
    part.write_bytes(part.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=part.name):
        assert results.read(tmp_path)["concept"].tolist() == ["blue_ring"]


def test_when_nothing_can_be_read_that_is_an_error(tmp_path: Path) -> None:
    part = results.write_part(tmp_path, rows(concept=["red_ring"]), "cut")
    part.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=part.name):
        results.read(tmp_path)


def test_an_empty_and_a_missing_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results"):
        results.read(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        results.read(tmp_path / "nowhere")


def test_a_row_says_when_it_was_written(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    results.write_part(tmp_path, [ROW], "a")
    (written,) = results.finish(tmp_path)["written_at"]
    assert before <= datetime.fromisoformat(written) <= datetime.now(UTC)
    results.write_part(tmp_path / "restored", results_of(tmp_path), "a")
    assert results.read(tmp_path / "restored")["written_at"].tolist() == [written]


def results_of(folder: Path) -> list[Record]:
    return [Record(**row) for row in results.read(folder).to_dict("records")]


def test_a_failed_word_gives_way_to_a_measured_one(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(concept=["blue_ring"]), "a")
    failed = rows(concept=["blue_ring", "red_ring"])
    failed = [dataclasses.replace(row, value=math.nan) for row in failed]
    assert results.finish(tmp_path, failed)["value"].isna().tolist() == [False, True]


def test_models_of_one_task_have_rows_of_their_own(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(target_model=["owlv2_base", "owlv2_large"]), "a")
    results.write_part(tmp_path, rows(source_model=["sd15", "tiny_sd"]), "b")
    assert len(results.read(tmp_path)) == 4


def test_another_table_is_refused_with_the_columns_it_lacks(tmp_path: Path) -> None:
    pd.DataFrame({"word": ["mipo"], "value": [1.0]}).to_parquet(tmp_path / "results.parquet")
    with pytest.raises(UserError, match=r"holds word, value and lacks the columns experiment, "):
        results.read(tmp_path)


def test_a_table_with_a_column_of_another_type_is_left_out_and_said(tmp_path: Path) -> None:
    results.write_part(tmp_path, [ROW], "a")
    frame = results.finish(tmp_path).assign(delta="unconstrained")
    frame.to_parquet(tmp_path / "other.parquet")
    with pytest.warns(UserWarning, match=r"other\.parquet \(a column is of another type"):
        assert results.read(tmp_path / "other.parquet").empty


def test_text_is_read_as_categories_on_request(tmp_path: Path) -> None:
    results.write_part(tmp_path, rows(concept=["red_ring", "blue_ring"]), "a")
    results.write_part(tmp_path, rows(concept=["green_ring"]), "b")
    frame = results.read(tmp_path, categorical=True)
    assert frame["concept"].dtype == "category"
    assert frame["concept"].tolist() == results.read(tmp_path)["concept"].tolist()


def test_reading_whole_results_warns_of_nothing(tmp_path: Path) -> None:
    results.write_part(tmp_path, [ROW], "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.read(tmp_path)


def test_a_part_states_its_columns_to_any_reader_of_parquet(tmp_path: Path) -> None:
    part = results.write_part(tmp_path, [ROW], "a")
    assert pq.read_schema(part).equals(results.SCHEMA)


@pytest.mark.parametrize("rows_of_a_batch", [1, 7, 1_000_000])
def test_a_table_is_the_same_in_whatever_batches_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_of_a_batch: int
) -> None:
    monkeypatch.setattr(merge, "_ROWS", rows_of_a_batch)
    frame = study(datasets=["scenes", "shapes"], words=3)
    for number, (_, part) in enumerate(frame.groupby(["dataset", "concept"])):
        records = [Record(**row) for row in part.to_dict("records")]
        results.write_part(tmp_path, records, f"shard {number}")
        again = [dataclasses.replace(record, value=-1.0) for record in records[: number % 3]]
        results.write_part(tmp_path, again or records, f"once more {number}")
    lost = dataclasses.replace(ROW, dataset="shapes", concept="concept_2", value=math.nan)
    finished = results.finish(tmp_path, [lost])
    expected = pd.concat([frame, pd.DataFrame([dataclasses.asdict(lost)])])
    expected = expected.sort_values(results.IDENTITY).reset_index(drop=True)
    undated = finished.assign(written_at="")
    pd.testing.assert_frame_equal(undated, expected, check_dtype=False)
    pd.testing.assert_frame_equal(results.read(tmp_path), finished)
    csv = pd.read_csv(tmp_path / "results.csv")
    assert csv["value"].tolist() == pytest.approx(finished["value"].tolist(), nan_ok=True)
    assert csv["target_model"].tolist() == finished["target_model"].tolist()
    groups = pq.read_metadata(tmp_path / "results.parquet").num_row_groups
    assert (groups > 1) == (rows_of_a_batch < len(frame))


def test_batches_of_many_and_of_few_names_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "_ROWS", 1)
    for concept, anchors in (("harp", 300), ("throne", 5)):
        rows = [
            dataclasses.replace(ROW, concept=concept, anchor=f"a{number}")
            for number in range(anchors)
        ]
        results.write_part(tmp_path, rows, concept)
    assert len(results.read(tmp_path)) == 305

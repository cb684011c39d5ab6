"""Results from before models had names are read as they are now."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vwtransfer import results

OLD: dict[str, Any] = {
    "experiment": "demo",
    "dataset": "tiny_shapes",
    "concept": "red_striped_star",
    "anchor": "mipo",
    "delta": math.inf,
    "trained_for": "generation",
    "transfer": "clearest_matching",
    "evaluated_on": "detection",
    "metric": "mean_average_precision",
    "value": 0.25,
    "examples": 200,
    "seed": 3,
    "seconds": 1.5,
    "unsafe": "no",
    "outside_table": 0.1,
    "far_from_words": 0.2,
    "strange_output": 0.3,
    "turning_block": 2.0,
}
ANCHOR = {"trained_for": "anchor", "transfer": "none"}


def old(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{**OLD, **row} for row in rows])


def part(folder: Path, name: str, table: pa.Table, written: str = "") -> None:
    """A part as it was written then: its time in the metadata of the file."""
    path = folder / "results" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"vwtransfer.written": written}), path)


def config(folder: Path, suite: str) -> None:
    (folder / "config.yaml").write_text(f"model:\n  name: {suite}\n")


def test_an_old_row_is_read_with_the_columns_of_now(tmp_path: Path) -> None:
    part(tmp_path, "a", old({}), "2026-11-01T00:00:00+00:00")
    config(tmp_path, "tiny")
    (row,) = results.read(tmp_path).to_dict("records")
    assert row == {
        "experiment": "demo",
        "dataset": "tiny_shapes",
        "concept": "red_striped_star",
        "anchor": "mipo",
        "delta": math.inf,
        "seed": 3,
        "kind": "word",
        "source_model": "tiny_sd",
        "source_task": "generation",
        "transfer": "readout_matching",
        "target_model": "tiny_owlv2",
        "target_task": "detection",
        "metric": "mean_average_precision",
        "value": 0.25,
        "num_images": 200,
        "eval_seconds": 1.5,
        "unsafe": "no",
        "off_subspace_energy": 0.1,
        "vocabulary_distance": 0.2,
        "output_distance": 0.3,
        "concept_onset_layer": 2.0,
        **dict.fromkeys(("support", "device", "host", "commit", "versions"), ""),
        "written_at": "2026-11-01T00:00:00+00:00",
    }


def test_a_baseline_has_no_source(tmp_path: Path) -> None:
    part(tmp_path, "a", old(ANCHOR))
    (row,) = results.read(tmp_path).to_dict("records")
    assert (row["kind"], row["source_model"], row["source_task"]) == ("anchor", "", "")
    assert row["transfer"] == "none"


@pytest.mark.parametrize(
    ("suite", "model"), [("tiny", "tiny_sd"), ("paper", "sd21"), ("mine", "generation")]
)
def test_the_studys_config_tells_which_models_they_were(
    tmp_path: Path, suite: str, model: str
) -> None:
    table = old({})
    part(tmp_path, "a", table)
    pq.write_table(table, tmp_path / "results.parquet")
    config(tmp_path, suite)
    for path in (tmp_path, tmp_path / "results.parquet"):
        assert results.read(path)["source_model"].tolist() == [model]


def test_without_a_config_a_model_is_called_by_its_task(tmp_path: Path) -> None:
    part(tmp_path, "a", old({}))
    assert results.read(tmp_path)["target_model"].tolist() == ["detection"]


def test_of_two_old_records_the_one_written_first_stands(tmp_path: Path) -> None:
    part(tmp_path, "a", old({"value": 0.75}), "2026-11-02T00:00:00+00:00")
    part(tmp_path, "z", old({"value": 0.25}), "2026-11-01T00:00:00+00:00")
    pq.write_table(old({"value": 0.5}), tmp_path / "results.parquet")
    assert results.read(tmp_path)["value"].tolist() == [0.25]


def test_a_study_goes_on_beside_its_old_parts(tmp_path: Path) -> None:
    config(tmp_path, "tiny")
    part(tmp_path, "a", old({}))
    (row,) = results.read(tmp_path).to_dict("records")
    again = results.Record(**{**row, "value": 0.75, "written_at": ""})
    other = results.Record(**{**row, "concept": "blue_ring", "device": "cpu", "written_at": ""})
    results.write_part(tmp_path, [other], "b")
    assert results.write_table(tmp_path) == 2
    results.write_part(tmp_path, [again], "c")
    frame = results.finish(tmp_path)
    assert frame["device"].tolist() == ["cpu", ""]
    assert frame["value"].tolist() == [0.25, 0.75]  # a part with a time stands before one without


def test_columns_that_came_later_need_not_be_there(tmp_path: Path) -> None:
    later = ["unsafe", "outside_table", "far_from_words", "strange_output", "turning_block"]
    part(tmp_path, "a", old({}).drop_columns(later))
    frame = results.finish(tmp_path)
    assert frame["unsafe"].tolist() == ["not checked"]
    assert frame[list(results.DIAGNOSTICS)].isna().all(axis=None)

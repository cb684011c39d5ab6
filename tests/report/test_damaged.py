"""A study's folder that is damaged, or made up: what is sound is shown, the rest is said."""

import math
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import fabricated
from made_up import config_of, made_up_activations
from vwtransfer.analysis.part_files import write_part as write_table_part
from vwtransfer.errors import UserError
from vwtransfer.report import write_report
from vwtransfer.report.data import data
from vwtransfer.report.possible_rows import possible_parts, possible_results
from vwtransfer.report.study_reader import read_study
from vwtransfer.results import Record, write_part

FRAME = fabricated.study(words=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study's folder with a file of each kind that a report reads."""
    folder = tmp_path_factory.mktemp("whole") / "demo"
    write_part(folder, [Record(**row) for row in FRAME.to_dict("records")], "all")
    config = config_of(folder, "concept=[red_striped_star]", "anchor=paired")
    (folder / "config.yaml").write_text(yaml.safe_dump(config.composed, sort_keys=False))
    (folder / "provenance.json").write_text('{"date": "now", "machine": {}, "git": "0123+"}')
    failed = folder / "words" / "tiny_shapes" / "tiny_sd" / "x" / "zepu-inf-0.failed.json"
    failed.parent.mkdir(parents=True)
    failed.write_text('{"step": 3, "reason": "loss is nan"}')
    columns = made_up_activations("tiny_shapes", ["concept_0", "concept_1"], ["mipo", "zepu"])
    write_table_part(folder / "activations" / "a.parquet", columns, "made up")
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "demo")


@pytest.mark.parametrize(
    "change",
    [
        {"value": math.inf},
        {"value": 1e308},
        {"delta": -1.0},
        {"delta": math.nan},
        {"seed": -1},
        {"kind": "other"},
        {"concept": "../../x"},
        {"concept": ""},
        {"dataset": "x" * 300},
        {"anchor": "a/b"},
        {"transfer": "x/../../evil"},
        {"transfer": "none", "target_model": "tiny_clip"},
        {"transfer": "least_squares", "target_model": "tiny_sd"},
        {"target_task": "other"},
        {"metric": ""},
        {"metric": "m" * 300},
    ],
    ids=str,
)
def test_a_row_that_no_study_has_is_left_out_and_said(change: dict[str, Any]) -> None:
    place = FRAME.index[(FRAME["source_model"] == "tiny_sd") & (FRAME["kind"] == "word")][-1]
    frame = FRAME.copy()
    frame.loc[place, list(change)] = list(change.values())
    remarks: list[str] = []
    kept = possible_results(frame, remarks)
    assert len(kept) == len(frame) - 1
    assert remarks[0].startswith(f"1 of {len(frame)} rows of the results are left out")


def test_all_rows_of_a_sound_study_are_kept() -> None:
    remarks: list[str] = []
    frame = FRAME.assign(eval_seconds=math.inf, value=math.nan)
    assert len(possible_results(frame, remarks)) == len(FRAME)
    assert not remarks


def test_rows_of_tables_that_no_study_has_are_left_out_and_said() -> None:
    frame = pd.DataFrame(made_up_activations("tiny_shapes", ["a", "b"], ["c", "d"])).astype(object)
    frame.loc[0, "layer"] = "x"
    frame.loc[1, "concept"] = None
    frame.loc[2, "delta"] = 0.0
    frame.loc[3, "anchor_purity"] = math.inf
    remarks: list[str] = []
    kept = possible_parts(frame, "activations", remarks)
    assert len(kept) == len(frame) - 4
    assert kept["layer"].dtype.kind in "if"
    assert remarks[0].startswith(f"activations: 4 of {len(frame)} rows are left out")


def test_a_record_without_a_concept_is_left_out(copy: Path) -> None:
    (part,) = (copy / "results").iterdir()
    table = pq.read_table(part, partitioning=None)
    holed = ["concept_0", None] * len(table)
    place = table.column_names.index("concept")
    pq.write_table(table.set_column(place, "concept", pa.array(holed[: len(table)])), part)
    study = read_study(copy)
    assert set(study.frame["concept"]) == {"concept_0"}
    assert any(f"of {len(table)} rows lack what they are of" in line for line in study.remarks)
    pq.write_table(table.set_column(place, "concept", pa.nulls(len(table), pa.string())), part)
    with pytest.raises(
        UserError, match=f"no results yet: its tables have no row. .*: {len(table)} of {len(table)}"
    ):
        read_study(copy)


def test_a_record_that_stands_twice_in_a_file_counts_once_and_is_said(copy: Path) -> None:
    (part,) = (copy / "results").iterdir()
    frame = pd.read_parquet(part)
    pd.concat([frame, frame[:3].assign(value=7.0, written_at="3000-01-01")]).to_parquet(part)
    study = read_study(copy)
    assert len(study.frame) == len(frame)
    assert 7.0 not in study.frame["value"].values
    said = [line for line in study.remarks if "stand there more than once" in line]
    assert len(said) == 1
    assert f"3 of {len(frame) + 3} rows" in said[0]


def test_a_time_that_cannot_be_is_said() -> None:
    remarks: list[str] = []
    times = [math.nan, math.inf, -1.0, *FRAME["eval_seconds"][3:]]
    kept = possible_results(FRAME.assign(eval_seconds=times), remarks)
    assert len(kept) == len(FRAME)
    assert kept["eval_seconds"].isna().sum() == 3
    assert remarks[0].startswith("3 of ")


@pytest.mark.parametrize(
    ("name", "text", "remark"),
    [
        ("config.yaml", "model: [tiny]\ndataset: 7", "model, dataset: no keys with values"),
        ("config.yaml", "name: 2024-05-01\nmodel: {name: '${x}'}", "this version cannot follow"),
        ("provenance.json", '{"machine": ["x"], "git": []}', "machine: no keys with values"),
    ],
)
def test_a_file_that_holds_something_else_is_said(
    copy: Path, name: str, text: str, remark: str
) -> None:
    (copy / name).write_text(text)
    study = read_study(copy)
    assert any(remark in line for line in study.remarks)
    assert data(study)["panels"]


def test_a_named_pipe_is_not_waited_for(copy: Path) -> None:
    picture = copy / "images" / "d" / "c" / "word~a~none~a" / "zepu-inf-0-0.png"
    picture.parent.mkdir(parents=True)
    for path in (picture, copy / "results" / "b.parquet", copy / "activations" / "b.parquet"):
        os.mkfifo(path)
    study = read_study(copy)
    assert len(study.frame) == len(FRAME)
    assert any("activations: 1 files cannot be read" in line for line in study.remarks)


def test_figures_that_link_elsewhere_are_not_written_through(copy: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "figure_3.png").write_text("mine")
    (copy / "figures").symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"would lie in .*elsewhere, outside of .*demo"):
        write_report(copy)
    assert [path.read_text() for path in elsewhere.iterdir()] == ["mine"]


def test_a_link_to_itself_is_one_line(copy: Path) -> None:
    (copy / "figures").symlink_to("figures")
    with pytest.raises(UserError, match="a link leads to itself"):
        write_report(copy)


def test_a_name_in_a_saved_config_is_no_formula_in_a_figure(copy: Path) -> None:
    path = copy / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    saved["model"]["name"] = "${package:${evil.x}}"
    path.write_text(yaml.safe_dump(saved, sort_keys=False))
    assert write_report(copy).is_file()


def test_a_table_that_is_none_of_results_is_left_out_and_said(copy: Path) -> None:
    pd.DataFrame({"word": ["mipo"], "value": [1.0]}).to_parquet(copy / "results" / "b.parquet")
    study = read_study(copy)
    assert len(study.frame) == len(FRAME)
    assert any("b.parquet (no table of results: it holds word" in line for line in study.remarks)


def test_a_table_with_a_column_twice_is_left_out_and_said(copy: Path) -> None:
    (part,), (activations,) = (list((copy / n).iterdir()) for n in ("results", "activations"))
    for path, column in ((part, "metric"), (activations, "layer")):
        table = pq.read_table(path, partitioning=None)
        doubled = table.append_column(column, table[column])
        pq.write_table(doubled, path.with_name("b.parquet"))
    nested = pa.StructArray.from_arrays([table[column].combine_chunks()], ["metric"])
    inside = pq.read_table(part, partitioning=None).drop_columns("metric")
    rows = nested.take(pa.array([0] * len(inside)))
    pq.write_table(inside.append_column("more", rows), part.with_name("c.parquet"))
    study = read_study(copy)
    assert len(study.frame) == len(FRAME)
    assert any("b.parquet (no table of results: it has metric twice)" in x for x in study.remarks)
    assert any("c.parquet (no table of results: it holds " in line for line in study.remarks)
    assert any("activations: 1 files cannot be read" in line for line in study.remarks)


@given(data_=st.data())
@settings(max_examples=12, derandomize=True, deadline=None, database=None)
def test_any_damage_to_a_file_ends_in_a_page_or_in_one_line(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data_: st.DataObject
) -> None:
    copy = shutil.copytree(whole, tmp_path_factory.mktemp("copy") / "demo")
    path = data_.draw(st.sampled_from(sorted(p for p in copy.rglob("*") if p.is_file())))
    held = bytearray(path.read_bytes())
    draw = random.Random(data_.draw(st.integers(0, 2**32)))
    for _ in range(draw.randint(1, 8)):
        held[draw.randrange(len(held))] = draw.randrange(256)
    path.write_bytes(held[: draw.choice([len(held), draw.randrange(len(held))])])
    try:
        assert len(read_study(copy).frame)
    except UserError as refusal:
        assert len(str(refusal).splitlines()) == 1

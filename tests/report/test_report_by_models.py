"""Two models of one task are both shown; folders from before models had names are still read."""

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from html_pages import undrawn
from made_up import made_up_activations, make_up
from vwtransfer.analysis.part_files import write_part
from vwtransfer.report.data import data
from vwtransfer.report.pictures import side_by_side
from vwtransfer.report.study_reader import read_study

CONCEPTS = ["red_striped_star", "blue_dotted_heart"]
ANCHORS = ["zepu", "muli"]
MODELS = ["tiny_sd", "tiny_owlv2", "tiny_clip"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up study with two generators."""
    folder = tmp_path_factory.mktemp("outputs") / "two"
    chosen = ["model=paper", "model/generation=[sd15,sd21]", "dataset=coco", "delta=null"]
    make_up(folder, *chosen, "concept=[bear,cup]", "anchor=[bear,cup]", pictures=True)
    for source in ("sd15", "sd21"):
        columns = made_up_activations("coco", ["bear", "cup"], ["bear", "cup"], 3, source, source)
        write_part(folder / "activations" / f"{source}.parquet", columns, "made up")
    return folder


def test_two_models_of_one_task_are_both_shown_everywhere(two: Path) -> None:
    found = read_study(two)
    assert found.sources == found.targets == ["sd15", "sd21", "owlv2_base", "dfn_clip"]
    shown = undrawn(two)
    for title in ("sd15 to sd21", "sd21 to sd15"):
        source, _, target = title.split()
        assert math.isfinite(
            found.retentions["least_squares", math.inf].directions[source, target].value
        )
    for model in ("sd15", "sd21"):
        assert f"words trained in {model} (generation)" in shown.said
        assert f"transferred to {model} (generation) by least_squares" in shown.said
        assert f"measured in {model} (generation), 4 are shown here" in shown.said  # activations
        assert f"checkpoint of {model}" in shown.said
    beside = [line.label for line, _ in next(side_by_side(found)).rows]
    assert beside[0] == "target"
    assert {"sd15 in sd15", "sd21 in sd21", "sd15 in sd21, least_squares"} <= set(beside)
    assert len(beside) == 1 + 2 * 4
    carried = data(found)
    assert [panel["model"] for panel in carried["panels"]] == [
        *("sd15", "sd21", "owlv2_base", "dfn_clip", "dfn_clip")
    ]
    assert [sheet["model"] for sheet in carried["activations"]] == ["sd15", "sd21"]
    words = carried["words"]["source_model"]
    counts = Counter(words["names"][code] for code in words["codes"])
    assert counts["sd15"] == counts["sd21"] == 4


def test_only_the_papers_own_models_are_held_against_the_paper(two: Path) -> None:
    found = read_study(two)
    assert found.published is not None
    assert set(found.published["source_model"]) == {"sd21", "owlv2_base", "dfn_clip"}
    assert "sd15" not in set(found.compared("least_squares")["target_model"])
    other = replace(found, tasks={**found.tasks}, config={"model": {"name": "mine"}})
    assert other.published is None


def as_of_a_former_version(folder: Path) -> None:
    """Turns a made-up study into one whose files name tasks in place of models."""
    tasks = {"tiny_sd": "generation", "tiny_owlv2": "detection", "tiny_clip": "classification"}
    frame = pd.read_parquet(folder / "results.parquet")
    word = frame["kind"] == "word"
    former = frame[["experiment", "dataset", "concept", "anchor", "delta", "transfer"]].assign(
        trained_for=frame["source_model"].replace(tasks).where(word, frame["kind"]),
        evaluated_on=frame["target_model"].replace(tasks),
        **frame[["metric", "value", "seed"]],
        examples=20,
        seconds=0.5,
    )
    shutil.rmtree(folder / "results")
    former.to_parquet(folder / "results.parquet", index=False)
    path = folder / "activations" / "a.parquet"
    columns = pq.read_table(path).to_pandas().drop(columns=["encoder", "place", "encoders"])
    names = {"source_model": "trained_for", "target_model": "evaluated_on"}
    columns = columns.rename(columns=names).replace({"tiny_clip": "classification"})
    write_part(path, columns.to_dict("list"), "made up")
    picture = folder / "images/tiny_shapes" / CONCEPTS[0] / "generation-none/zepu-0.5-0-0.png"
    picture.parent.mkdir(parents=True)
    shutil.copy(next((folder / "targets").rglob("*.png")), picture)
    failed = folder / "words/tiny_shapes/generation" / CONCEPTS[0] / "zepu-0.5-0.failed.json"
    failed.parent.mkdir(parents=True)
    failed.write_text(json.dumps({"step": 7, "reason": "the loss is nan"}))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    model = config["model"]
    config["model"] = {"name": "tiny", "judge": model["judge"]}
    config["model"] |= {task: model[name] for name, task in tasks.items()}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_folder_of_a_former_version_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    copy = tmp_path / "made"
    make_up(copy, f"concept=[{','.join(CONCEPTS)}]", f"anchor=[{','.join(ANCHORS)}]", pictures=True)
    shutil.rmtree(copy / "images")
    columns = made_up_activations("tiny_shapes", CONCEPTS, ANCHORS)
    write_part(copy / "activations" / "a.parquet", columns, "made up")
    as_of_a_former_version(copy)
    found = read_study(copy)
    assert found.sources == MODELS
    shown = undrawn(copy)
    for line in (
        "config.yaml says what this version cannot follow",
        "images: 1 pictures are not filed by models",
        "trained in tiny_sd (generation)",
        "1 word failed in training",
        "not checked for safety",
    ):
        assert line in shown.said
    (cell, *_) = found.failures[0]
    assert cell.model == "tiny_sd"
    assert [sheet["model"] for sheet in data(found)["activations"]] == ["tiny_clip"]
    part = copy / "activations" / "b.parquet"
    write_part(part, made_up_activations("tiny_shapes", CONCEPTS, ANCHORS), "made up")
    assert "such as a.parquet" in undrawn(copy).said  # the current one is shown

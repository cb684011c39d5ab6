"""The tiny world, written out as the paper's datasets lie on disk, takes part in a study."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf.errors import InterpolationResolutionError
from PIL import Image

from composing import compose
from drawn import photos
from quadratic import Closeness, Quadratic
from vwtransfer.actions import propose_boxes
from vwtransfer.actions.run import run as run_study
from vwtransfer.config.models import Training
from vwtransfer.datasets import BOXES, HELD_OUT, NEGATIVES, Example, notes_of
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.dreambooth import DreamBooth
from vwtransfer.datasets.export import write_coco, write_dreambooth, write_imagenet, write_pascal
from vwtransfer.datasets.folder import Folder
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.pascal import PascalVOC
from vwtransfer.datasets.rendered import Rendered
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build_part
from vwtransfer.study import data_loading
from vwtransfer.tasks.average_precision import average_precision

ANCHOR = compose(["dataset=tiny_shapes"]).dataset["tiny_shapes"].anchors[0]
QUICK = [
    "model.generation.training.steps=2",
    "model.generation.denoising_steps=2",
    "model.detection.training.steps=3",
    "model.classification.training.steps=3",
    "progress=false",
    "report=false",
    "threads=1",
]


@pytest.fixture(scope="module")
def world() -> Rendered:
    """Three concepts of tiny_shapes, three training and two held-out images each."""
    node = compose(["dataset=tiny_shapes"]).dataset["tiny_shapes"].node
    few = {"concepts": dict(list(node["concepts"].items())[:3]), "anchors": node["anchors"][:3]}
    sizes = {"training_images": 3, "held_out_images": 2}
    drawn: Rendered = build_part({**node, **few, **sizes}, "dataset.tiny_shapes")
    return drawn


def keys(world: Rendered) -> dict[str, Any]:
    return {
        "name": "exported",
        "concepts": dict(world.concepts),
        "anchors": list(world.anchors),
        "training_images": 3,
        "held_out_images": 2,
        "seed": 0,
    }


def test_every_loader_gives_back_the_tiny_world(world: Rendered, tmp_path: Path) -> None:
    wnids = {concept: f"n{i:08}" for i, concept in enumerate(world.concepts)}
    same = {concept: concept for concept in world.concepts}
    root, shared = str(tmp_path), keys(world)
    write_coco(world, tmp_path)
    write_pascal(world, tmp_path)
    write_imagenet(world, tmp_path, wnids)
    write_dreambooth(world, tmp_path)
    loaders = [
        Coco(root, 2017, world.concepts, **shared),
        PascalVOC(root, 2012, same, **shared),
        ImageNet(root, "CLS-LOC", wnids, **shared),
        DreamBooth(root, str(tmp_path / "boxes.json"), **shared),
    ]
    for dataset in loaders:
        for concept in world.concepts:
            drawn = {e.boxes: e for e in [*world.training(concept), *world.held_out(concept)]}
            read = [*dataset.training(concept), *dataset.held_out(concept)]
            assert len(read) == len(drawn) == 5
            for example in read:
                nearest = min(drawn, key=lambda box: np.abs(np.subtract(box, example.boxes)).max())
                assert np.allclose(nearest, example.boxes, atol=1e-3)
                pixels, source = (
                    np.asarray(each.load(), dtype=float) for each in (example, drawn[nearest])
                )
                assert np.abs(pixels - source).mean() < 4


def exported(world: Rendered, folder: Path) -> list[str]:
    """Writes COCO's layout and a config for it, as a person would for a dataset of their own."""
    write_coco(world, folder / "coco")
    conf = folder / "conf" / "dataset"
    conf.mkdir(parents=True)
    node = {
        "_target_": "vwtransfer.datasets.coco.Coco",
        **keys(world),
        "root": str(folder / "coco"),
        "edition": 2017,
        "categories": dict(world.concepts),
        "manifest": None,
    }
    (conf / "exported.yaml").write_text(f"# @package dataset.exported\n{json.dumps(node)}\n")
    return ["dataset=exported", "anchor=paired", f"outputs={folder / 'outputs'}", *QUICK]


def test_the_whole_study_runs_on_cocos_layout(world: Rendered, tmp_path: Path) -> None:
    overrides = exported(world, tmp_path)
    image = next((tmp_path / "coco" / "val2017").iterdir())
    image.write_bytes(b"")
    run_study(compose(overrides, tmp_path / "conf"))
    folder = tmp_path / "outputs" / "study"
    frame = pd.read_parquet(folder / "results.parquet")
    words = frame[frame.kind == "word"]
    trials = words.drop_duplicates(["source_model", "target_model", "concept"])
    assert len(trials) == 3 * 3 * 3
    summary = (folder / "summary.txt").read_text()
    assert f"skipped files: val2017/{image.name}: the file is empty" in summary.replace("\n", " ")
    manifest = json.loads((folder / "manifests" / "exported.json").read_text())
    assert len(manifest["images"]) == 3 * 5 - 1
    # a later run goes on with the images of the first, whatever became of the annotations
    (tmp_path / "coco" / "annotations" / "instances_train2017.json").unlink()
    run_study(compose(overrides, tmp_path / "conf"))


def test_a_few_photos_of_one_thing_train_words_for_generation(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 3}) / "red"
    chosen = ["dataset=folder", f"dataset.folder.root={root}", f"anchor={ANCHOR}"]
    run_study(compose([*chosen, f"outputs={tmp_path / 'outputs'}", *QUICK]))
    folder = tmp_path / "outputs" / "study"
    assert [path.parts[-3] for path in (folder / "words").rglob("*.safetensors")] == ["tiny_sd"]
    summary = (folder / "summary.txt").read_text()
    assert "folder: tiny_owlv2: no word is trained in it and nothing is measured in it" in summary
    assert "dataset.folder.negatives=FOLDER" in summary


def test_a_dataset_serves_as_negatives_of_a_single_folder(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 10}) / "red"
    chosen = ["dataset=folder", f"dataset.folder.root={root}", f"anchor={ANCHOR}"]
    config = compose([*chosen, "dataset.folder.negatives=tiny_small"])
    dataset = build_part(config.dataset["folder"].node, "dataset.folder")
    assert dataset.held_out("red")
    small = build_part(compose(["dataset=tiny_small"]).dataset["tiny_small"].node, "tiny_small")
    assert list(dataset.concepts) == ["red", *small.concepts]
    concept = next(iter(small.concepts))
    assert dataset.training(concept)[0].load() == small.training(concept)[0].load()
    assert list(config.dataset["folder"].concepts) == ["red"]  # words are trained for no other
    assert set(notes_of(dataset).lacks) == {BOXES}
    with pytest.raises(InterpolationResolutionError, match="Did you mean 'tiny_small'"):
        compose([*chosen, "dataset.folder.negatives=tiny_smal"])


def test_the_detector_proposes_boxes_for_a_person_to_verify(
    world: Rendered, tmp_path: Path
) -> None:
    write_dreambooth(world, tmp_path)
    (tmp_path / "boxes.json").unlink()
    root, boxes = tmp_path / "dataset", tmp_path / "boxes.json"
    chosen = ["dataset=folder", f"dataset.folder.root={root}", f"dataset.folder.boxes={boxes}"]
    config = compose([*chosen, f"anchor={ANCHOR}", "action=propose_boxes", *QUICK])
    propose_boxes.run(config)
    proposed = json.loads(boxes.read_text())
    assert len(proposed["annotations"]) == 3 * 5
    assert not any(each["verified"] for each in proposed["annotations"])
    assert (tmp_path / "boxes.png").read_bytes().startswith(b"\x89PNG")
    propose_boxes.run(config)
    assert json.loads(boxes.read_text()) == proposed
    for image in proposed["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")  # as tools of Windows do
    boxes.write_text(json.dumps(proposed))
    propose_boxes.run(config)
    assert json.loads(boxes.read_text()) == proposed
    with pytest.raises(UserError, match="nobody has verified the boxes of 15 of 15 images"):
        build_part(config.dataset["folder"].node, "dataset.folder")


def test_a_model_is_left_out_where_the_dataset_lacks_what_it_needs(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 4}) / "red"
    dataset = Folder(
        str(root),
        name="mine",
        concepts={"red": "red"},
        anchors=["red"],
        training_images=8,
        held_out_images=20,
        seed=0,
    )
    free, bound = (
        Quadratic(Training(0.1, 2, 1), torch.device("cpu"), name=name, task=f"{name}_task")
        for name in ("free", "bound")
    )
    tasks = {model.task: Closeness() for model in (free, bound)}
    bound.trains_with, tasks[bound.task].measured_with = (NEGATIVES,), (BOXES, HELD_OUT)
    assert data_loading.trains(free, dataset)
    assert data_loading.measures(tasks[free.task], dataset)
    assert not data_loading.trains(bound, dataset)
    assert not data_loading.measures(tasks[bound.task], dataset)
    models = {model.name: model for model in (free, bound)}
    (line,) = data_loading.left_out(models, tasks, {"mine": dataset})
    assert str(line).startswith(
        "mine: bound: no word is trained in it and nothing is measured in it:"
    )
    assert "dataset.mine.boxes=FILE" in line.why


def test_a_box_that_finds_a_crowd_is_neither_right_nor_wrong() -> None:
    target, crowd = (10.0, 10.0, 50.0, 50.0), (100.0, 100.0, 200.0, 200.0)
    found = torch.tensor([crowd, target])[None, None]
    scores = torch.tensor([0.9, 0.8])[None, None]

    def score(example: Example) -> float:
        (values,) = average_precision(found, scores, [example], ["dog"])
        return values["mean_average_precision"]

    blank = partial(Image.new, "RGB", (300, 300))
    plain = Example("a", "dog", blank, (target,), ("dog",))
    crowded = Example("a", "dog", blank, (target,), ("dog",), (crowd,), ("dog",))
    assert score(plain) == pytest.approx(0.5, abs=0.01)
    assert score(crowded) == pytest.approx(1.0)

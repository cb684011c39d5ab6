"""A dataset on disk, as each of the paper's four lies there, is read back as it was drawn."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drawn import CONCEPTS, WNIDS, Drawn, wanted
from vwtransfer.datasets import Dataset, Example, notes_of
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.dreambooth import DreamBooth
from vwtransfer.datasets.export import write_coco, write_dreambooth, write_imagenet, write_pascal
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.pascal import PascalVOC
from vwtransfer.errors import UserError

SAME = {concept: concept for concept in CONCEPTS}


def coco(root: Path, **other: Any) -> Dataset:
    return Coco(str(root), 2017, CONCEPTS, **wanted(**other))


def pascal(root: Path, **other: Any) -> Dataset:
    return PascalVOC(str(root), 2012, SAME, **wanted(**other))


def imagenet(root: Path, **other: Any) -> Dataset:
    return ImageNet(str(root), "CLS-LOC", WNIDS, **wanted(**other))


def dreambooth(root: Path, **other: Any) -> Dataset:
    return DreamBooth(str(root), str(root / "boxes.json"), **wanted(**other))


LOADERS: dict[str, Callable[..., Dataset]] = {
    "coco": coco,
    "pascal": pascal,
    "imagenet": imagenet,
    "dreambooth": dreambooth,
}


@pytest.fixture(scope="module")
def original() -> Dataset:
    return Drawn()


@pytest.fixture(scope="module")
def disk(original: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn images in each layout; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("disk")
    write_coco(original, folder / "coco")
    write_pascal(original, folder / "pascal")
    write_imagenet(original, folder / "imagenet", WNIDS)
    write_dreambooth(original, folder / "dreambooth")
    return folder


def examples(dataset: Dataset) -> list[Example]:
    return [
        example
        for concept in CONCEPTS
        for example in [*dataset.training(concept), *dataset.held_out(concept)]
    ]


def drawn_as(example: Example, drawn: list[Example]) -> Example:
    """The drawn image that a file shows; JPEG changes pixels a little."""
    pixels = np.asarray(example.load(), dtype=float)
    distances = [np.abs(np.asarray(each.load(), dtype=float) - pixels).mean() for each in drawn]
    best = int(np.argmin(distances))
    assert distances[best] < 4
    return drawn[best]


@pytest.mark.parametrize("layout", LOADERS)
def test_a_layout_gives_back_images_concepts_and_boxes(
    layout: str, disk: Path, original: Dataset
) -> None:
    dataset = LOADERS[layout](disk / layout)
    for concept in CONCEPTS:
        train, held_out = dataset.training(concept), dataset.held_out(concept)
        if layout == "dreambooth":  # a quarter of 6 is held out, and what is beyond 4
            drawn = original.training(concept) + original.held_out(concept)
            assert (len(train), len(held_out)) == (4, 2)
            pairs = [(each, drawn_as(each, drawn)) for each in train + held_out]
        else:
            pairs = [(each, drawn_as(each, original.training(concept))) for each in train]
            pairs += [(each, drawn_as(each, original.held_out(concept))) for each in held_out]
        assert len({id(source) for _, source in pairs}) == 6
        for read, source in pairs:
            assert read.concept == concept
            assert read.labels == source.labels
            assert np.allclose(read.boxes, source.boxes, atol=1e-4)
    assert not notes_of(dataset).skipped


@pytest.mark.parametrize("layout", LOADERS)
def test_the_seed_chooses_the_images(layout: str, disk: Path) -> None:
    load = partial(LOADERS[layout], disk / layout, training=2, held_out=1)
    chosen = [[each.id for each in examples(load(seed=seed))] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_the_2014_edition_of_coco_has_other_folders(original: Dataset, tmp_path: Path) -> None:
    write_coco(original, tmp_path, edition=2014)
    dataset = Coco(str(tmp_path), 2014, CONCEPTS, **wanted())
    assert dataset.training("red")[0].id.startswith("train2014/")
    with pytest.raises(UserError, match=r"instances_train2017.json: there is no such file"):
        Coco(str(tmp_path), 2017, CONCEPTS, **wanted())


def test_pascal_is_found_with_and_without_the_folders_around_it(disk: Path) -> None:
    inner = disk / "pascal" / "VOCdevkit" / "VOC2012"
    roots = (disk / "pascal", inner.parent, inner)
    ids = [[each.id for each in examples(pascal(root))] for root in roots]
    assert ids[0] == ids[1] == ids[2]


def test_imagenet_without_the_list_of_classes_goes_by_the_boxes(disk: Path, tmp_path: Path) -> None:
    shutil.copytree(disk / "imagenet" / "ILSVRC", tmp_path / "ILSVRC")
    expected = examples(imagenet(disk / "imagenet"))
    assert [each.id for each in examples(imagenet(tmp_path))] == [each.id for each in expected]


def test_imagenets_validation_images_may_be_sorted_into_classes(disk: Path, tmp_path: Path) -> None:
    root = shutil.copytree(disk / "imagenet", tmp_path / "sorted")
    folder = root / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    expected = examples(imagenet(root))
    for each in expected:
        if "/val/" in each.id:
            (folder / WNIDS[each.concept]).mkdir(exist_ok=True)
            shutil.move(root / "ILSVRC" / each.id, folder / WNIDS[each.concept])
    found = examples(imagenet(root))
    assert {Path(each.id).name for each in found} == {Path(each.id).name for each in expected}


def test_imagenets_detection_set_is_read_too(disk: Path, tmp_path: Path) -> None:
    for kind in ("Data", "Annotations"):
        source = disk / "imagenet" / "ILSVRC" / kind / "CLS-LOC"
        target = tmp_path / "ILSVRC" / kind / "DET"
        shutil.copytree(source / "train", target / "train" / "ILSVRC2013_train")
        shutil.copytree(source / "val", target / "val")
    dataset = ImageNet(str(tmp_path), "DET", WNIDS, **wanted())
    assert {len(dataset.training(concept)) for concept in CONCEPTS} == {4}
    assert {len(dataset.held_out(concept)) for concept in CONCEPTS} == {2}


def test_a_folder_that_is_not_there_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.drawn\.root=.*nowhere: there is no such folder"):
        Coco(str(tmp_path / "nowhere"), 2017, CONCEPTS, **wanted())


def test_a_category_that_coco_does_not_have_is_refused(disk: Path) -> None:
    categories = {**CONCEPTS, "blue": "blue thin"}
    with pytest.raises(UserError, match=r"blue thin is no category .* 'blue thing'"):
        Coco(str(disk / "coco"), 2017, categories, **wanted())


def test_a_concept_without_a_category_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.drawn.wnids.blue: is missing"):
        ImageNet(str(tmp_path), "CLS-LOC", dict(list(WNIDS.items())[:2]), **wanted())

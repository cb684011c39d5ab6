"""Bad data is refused or skipped by the file's name and the reason; it never changes a number."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from drawn import CONCEPTS, WNIDS, Drawn, photo, wanted
from vwtransfer.datasets import Example, notes_of
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.export import write_coco, write_imagenet, write_pascal
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.pascal import PascalVOC
from vwtransfer.errors import UserError

SAME = {concept: concept for concept in CONCEPTS}
TRAIN = "annotations/instances_train2017.json"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    write_coco(Drawn(), folder / "coco")
    write_pascal(Drawn(), folder / "pascal")
    write_imagenet(Drawn(), folder / "imagenet", WNIDS)
    return folder


@pytest.fixture
def coco(disk: Path, tmp_path: Path) -> Path:
    return shutil.copytree(disk / "coco", tmp_path / "coco")


@pytest.fixture
def pascal(disk: Path, tmp_path: Path) -> Path:
    return shutil.copytree(disk / "pascal", tmp_path / "pascal")


def load_coco(root: Path) -> Coco:
    return Coco(str(root), 2017, CONCEPTS, **wanted())


def load_pascal(root: Path) -> PascalVOC:
    return PascalVOC(str(root), 2012, SAME, **wanted())


def change(path: Path, edit: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def first_of(top: Any, concept: str) -> Any:
    """The first annotation of a concept."""
    category = next(c["id"] for c in top["categories"] if c["name"] == CONCEPTS[concept])
    return next(each for each in top["annotations"] if each["category_id"] == category)


def all_examples(dataset: Any) -> list[Example]:
    return [
        example
        for concept in CONCEPTS
        for example in [*dataset.training(concept), *dataset.held_out(concept)]
    ]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut_off, "damaged image"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: Image.new("RGB", (9, 9)).save(path), "annotated at 64 x 48 pixels, but"),
        (lambda path: shutil.copy(path.parent / "000000000001.jpg", path), "the same image as"),
    ],
)
def test_an_image_that_cannot_be_used_is_skipped_and_named(
    coco: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], Any],
    reason: str,
) -> None:
    spoil(coco / "train2017" / "000000000000.jpg")
    with caplog.at_level(logging.DEBUG, logger="vwtransfer.datasets.photos"):
        dataset = load_coco(coco)
    (skipped,) = notes_of(dataset).skipped
    assert skipped.file.startswith("train2017/00000000000")
    assert reason in skipped.reason
    assert f"skipped {skipped.file}: {skipped.reason}" in caplog.text
    assert len(dataset.training("red")) == 3
    assert notes_of(dataset).noted == ("red: 3 training images instead of 4",)


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ([50, 10, 30, 10], "reaches out of the image of 64 x 48 pixels"),
        ([-9, 10, 30, 10], "reaches out"),
        ([100, 100, 5, 5], "reaches out"),
        ([10, 10, 0, 10], "has no area"),
        ([10, 10, -5, 10], "has no area"),
        ([float("nan"), 10, 5, 5], "not made of finite numbers"),
        ([10, 10, 5], "not made of finite numbers"),
        (None, "not made of finite numbers"),
        ("wide", "not made of finite numbers"),
    ],
)
def test_an_image_with_a_bad_box_is_skipped_and_named(coco: Path, bbox: Any, reason: str) -> None:
    change(coco / TRAIN, lambda top: first_of(top, "red").update(bbox=bbox))
    dataset = load_coco(coco)
    (skipped,) = notes_of(dataset).skipped
    assert skipped.file == "train2017/000000000000.jpg"
    assert reason in skipped.reason
    assert len(dataset.training("red")) == 3


def test_crowds_are_no_targets_and_do_not_say_what_an_image_shows(coco: Path) -> None:
    def add_crowd(top: Any) -> None:
        first = first_of(top, "red")
        blue = first_of(top, "blue")["category_id"]
        crowd = {"id": 999, "bbox": [0, 0, 64, 48], "category_id": blue, "iscrowd": 1}
        top["annotations"].append({**first, **crowd})

    change(coco / TRAIN, add_crowd)
    (example,) = [e for e in load_coco(coco).training("red") if e.ignored]
    assert (example.labels, example.ignored_labels) == (("red",), ("blue",))
    assert example.ignored == ((0, 0, 64, 48),)


def test_difficult_objects_are_no_targets(pascal: Path) -> None:
    for xml in (pascal / "VOCdevkit" / "VOC2012" / "Annotations").glob("2008_*.xml"):
        text = xml.read_text()
        start, end = text.index("  <object>"), text.index("</annotation>")
        hard = text[start:end].replace("<difficult>0", "<difficult>1")
        xml.write_text(text[:end] + hard + text[end:])
    for example in load_pascal(pascal).training("red"):
        assert (example.boxes, example.labels) == (example.ignored, example.ignored_labels)
        assert example.labels == ("red",)


def test_the_largest_box_says_what_an_image_shows(coco: Path) -> None:
    def add_larger(top: Any) -> None:
        blue = first_of(top, "blue")["category_id"]
        larger = {"id": 999, "bbox": [0, 0, 64, 48], "category_id": blue}
        top["annotations"].append({**first_of(top, "red"), **larger})

    change(coco / TRAIN, add_larger)
    dataset = load_coco(coco)
    (first,) = {"train2017/000000000000.jpg"} - {e.id for e in dataset.training("red")}
    assert len(dataset.training("red")) == 3
    moved = Coco(str(coco), 2017, CONCEPTS, **wanted(5)).training("blue")
    assert first in {e.id for e in moved}
    assert {label for e in moved for label in e.labels} == {"red", "blue"}


def test_an_annotation_of_an_image_that_is_not_listed_is_skipped(coco: Path) -> None:
    change(coco / TRAIN, lambda top: first_of(top, "red").update(image_id=4711))
    skipped = notes_of(load_coco(coco)).skipped[0]
    assert skipped.file == "instances_train2017.json, annotation 1"
    assert skipped.reason == "there is no image with id 4711"


def test_a_path_that_leaves_the_folder_is_not_opened(coco: Path) -> None:
    photo(coco.parent / "outside.jpg", "red", (64, 48))

    def escape(top: Any) -> None:
        top["images"][0]["file_name"] = "../../outside.jpg"

    change(coco / TRAIN, escape)
    (skipped,) = notes_of(load_coco(coco)).skipped
    assert skipped.reason == "the path leaves the dataset's folder"


def test_an_image_of_training_is_not_measured_on(coco: Path) -> None:
    shutil.copy(coco / "train2017" / "000000000000.jpg", coco / "val2017" / "000000000000.jpg")
    dataset = load_coco(coco)
    (skipped,) = notes_of(dataset).skipped
    assert skipped.file == "val2017/000000000000.jpg"
    assert skipped.reason == "the same image as train2017/000000000000.jpg"
    assert len(dataset.held_out("red")) == 1


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text[: len(text) // 2], "is cut off or not JSON"),
        (lambda text: "[]", "is not in COCO's instances format"),
        (lambda text: "{}", "has no list of images"),
        (lambda text: text.replace('"file_name"', '"file"'), "an entry of images lacks id or fi"),
        (lambda text: text.replace('"category_id"', '"kind"'), "an entry of annotations lacks"),
        (lambda text: text.replace("0001.jpg", "0000.jpg"), "2 images have the file_name 0000000"),
        (lambda text: text.replace('"category_id": 1', '"category_id": 77'), "no category with id"),
    ],
)
def test_a_json_that_cannot_be_read_is_refused_by_name(
    coco: Path, edit: Callable[[str], str], said: str
) -> None:
    path = coco / TRAIN
    path.write_text(edit(path.read_text()))
    with pytest.raises(UserError, match=said) as refusal:
        load_coco(coco)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda text: text[: len(text) // 2], "is cut off or not XML"),
        (lambda text: '<!DOCTYPE a [<!ENTITY e "x">]>' + text, "declares a document type"),
        (lambda text: text.replace("<xmin>", "<xmin>left"), "its box is missing or not made of"),
        (lambda text: text.replace("xmin", "x"), "its box is missing or not made of"),
        (lambda text: text.replace("name>", "n>"), "has objects, but none with a name"),
        (lambda text: '<?xml version="1.0" encoding="klingon"?>' + text, "unknown encoding"),
    ],
)
def test_an_xml_that_cannot_be_read_costs_its_image_only(
    pascal: Path, edit: Callable[[str], str], reason: str
) -> None:
    path = pascal / "VOCdevkit" / "VOC2012" / "Annotations" / "2008_000000.xml"
    path.write_text(edit(path.read_text()))
    dataset = load_pascal(pascal)
    (skipped,) = notes_of(dataset).skipped
    assert skipped.file == "JPEGImages/2008_000000.jpg"
    assert reason in skipped.reason
    assert len(all_examples(dataset)) == 17


def test_an_xml_cannot_bring_in_another_file(pascal: Path) -> None:
    path = pascal / "VOCdevkit" / "VOC2012" / "Annotations" / "2008_000000.xml"
    secret = pascal / "secret.txt"
    secret.write_text("red")
    declaration = f'<!DOCTYPE a [<!ENTITY secret SYSTEM "{secret}">]>'
    path.write_text(declaration + path.read_text().replace("<name>red", "<name>&secret;"))
    assert "declares a document type" in notes_of(load_pascal(pascal)).skipped[0].reason


def test_an_annotated_image_that_is_missing_costs_itself_only(disk: Path, tmp_path: Path) -> None:
    root = shutil.copytree(disk / "imagenet", tmp_path / "imagenet")
    image = next((root / "ILSVRC" / "Data" / "CLS-LOC" / "train" / WNIDS["red"]).iterdir())
    image.unlink()
    dataset = ImageNet(str(root), "CLS-LOC", WNIDS, **wanted())
    (skipped,) = notes_of(dataset).skipped
    assert skipped.file.endswith(image.name)
    assert skipped.reason == "there is no such file"


def test_a_concept_without_images_is_refused(coco: Path) -> None:
    def remove(top: Any) -> None:
        blue = first_of(top, "blue")["category_id"]
        top["annotations"] = [a for a in top["annotations"] if a["category_id"] != blue]

    change(coco / "annotations" / "instances_val2017.json", remove)
    with pytest.raises(UserError, match=r"dataset.drawn: blue has 0 held-out images, none is usab"):
        load_coco(coco)
    change(coco / TRAIN, remove)
    with pytest.raises(UserError, match=r"blue has 0 training images, at least 2 are needed"):
        load_coco(coco)


def test_too_few_usable_images_are_refused_with_what_was_skipped(coco: Path) -> None:
    for number in range(3):
        cut_off(coco / "train2017" / f"{number:012}.jpg")
    with pytest.raises(UserError, match=r"red has 4 training images, .* Skipped: 3, such as train"):
        load_coco(coco)

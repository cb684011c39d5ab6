"""A manifest gives the same images, boxes and split again, or says which image is another."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from drawn import CONCEPTS, Drawn, photo, photos, wanted
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.export import write_coco
from vwtransfer.datasets.folder import Folder
from vwtransfer.datasets.manifest import read_manifest, write_manifest
from vwtransfer.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(Drawn(), tmp_path / "coco")
    return tmp_path / "coco"


@pytest.fixture
def manifest(root: Path) -> Path:
    path = root.parent / "manifest.json"
    write_manifest(Coco(str(root), 2017, CONCEPTS, **wanted(3, 1)).manifest, path)
    return path


def test_a_manifest_gives_the_same_split_elsewhere_without_annotations(
    root: Path, manifest: Path, tmp_path: Path
) -> None:
    first = Coco(str(root), 2017, CONCEPTS, **wanted(3, 1))
    elsewhere = shutil.copytree(root, tmp_path / "elsewhere")
    shutil.rmtree(elsewhere / "annotations")
    again = Coco(str(elsewhere), 2017, CONCEPTS, str(manifest), **wanted(3, 1, seed=7))
    assert again.manifest == first.manifest
    for concept in CONCEPTS:
        for one, other in zip(first.training(concept), again.training(concept), strict=True):
            assert (one.id, one.boxes, one.labels) == (other.id, other.boxes, other.labels)
            assert one.load().tobytes() == other.load().tobytes()


def test_it_names_files_hashes_boxes_and_splits(manifest: Path) -> None:
    image = json.loads(manifest.read_text())["images"][0]
    kept = {"file", "folder", "sha256", "concept", "split", "verified", "boxes", "profile"}
    assert set(image) == kept
    assert len(image["sha256"]) == 64
    assert set(image["boxes"][0]) == {"concept", "box", "ignored"}


def test_another_image_under_the_same_name_is_refused(root: Path, manifest: Path) -> None:
    name = read_manifest(manifest).images[0].file
    Image.new("RGB", (64, 48), "red").save(root / name)
    with pytest.raises(UserError, match=rf"{name} is not the image .*: its sha256 is .* name="):
        Coco(str(root), 2017, CONCEPTS, str(manifest), **wanted(3, 1))


def test_a_renamed_image_is_refused_with_its_name_now(root: Path, manifest: Path) -> None:
    image = root / read_manifest(manifest).images[0].file
    image.rename(image.with_name("beach.jpg"))
    with pytest.raises(UserError, match=r"no such file. It is called beach.jpg now. Put the image"):
        Coco(str(root), 2017, CONCEPTS, str(manifest), **wanted(3, 1))


def test_a_name_that_is_no_utf8_is_escaped_where_it_is_counted(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 3, "blue": 1})
    for name in (b"red/\xe9.txt", b"blue/\xe9.png"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).touch()
    dataset = Folder(str(root), **wanted(concepts={"red": "red"}))
    write_manifest(dataset.manifest, tmp_path / "manifest.json")
    assert r"such as red/\udce9.txt" in read_manifest(tmp_path / "manifest.json").noted[0]
    with pytest.raises(UserError, match=r"Skipped: 1, such as blue/.*is not UTF-8"):
        Folder(str(root), **wanted(concepts={"blue": "blue"}))


def change(path: Path, **values: Any) -> None:
    """Changes the first image of a manifest."""
    top = json.loads(path.read_text())
    top["images"][0].update(values)
    path.write_text(json.dumps(top))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"file": "../../x.jpg"}, r"\.\./\.\./x.jpg: the path leaves the dataset's folder"),
        ({"file": "x.jpg"}, "x.jpg: there is no such file. Put the image back as it was and under"),
        ({"split": "test"}, r"images\[0\].split=test: "),
        ({"boxes": [{"concept": "red", "box": [1, 2, 3], "ignored": False}]}, "has 3 numbers"),
        (
            {"boxes": [{"concept": "red", "box": [0, 0, 99, 9], "ignored": False}]},
            "reaches out of the image",
        ),
        ({"colour": "red"}, "unknown key"),
        ({"folder": "negatives"}, "give it with dataset.drawn.negatives"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused_by_its_place(
    root: Path, manifest: Path, values: dict[str, Any], said: str
) -> None:
    change(manifest, **values)
    with pytest.raises(UserError, match=said) as refusal:
        Coco(str(root), 2017, CONCEPTS, str(manifest), **wanted(3, 1))
    assert str(manifest) in str(refusal.value)


def test_a_manifest_that_is_cut_off_missing_or_anothers_is_refused(
    root: Path, manifest: Path
) -> None:
    with pytest.raises(UserError, match=r"manifest.json: is the manifest of drawn, not of other"):
        Coco(str(root), 2017, CONCEPTS, str(manifest), **wanted(3, 1, name="other"))
    concepts = {**CONCEPTS, "cyan": "cyan thing"}
    with pytest.raises(UserError, match="has fewer than 2 training images of cyan"):
        Coco(str(root), 2017, concepts, str(manifest), **wanted(3, 1, concepts=concepts))
    manifest.write_text(manifest.read_text()[:100])
    with pytest.raises(UserError, match=r"manifest.json: is cut off or not JSON"):
        Coco(str(root), 2017, CONCEPTS, str(manifest), **wanted(3, 1))
    with pytest.raises(UserError, match=r"nowhere.json: No such file"):
        Coco(str(root), 2017, CONCEPTS, str(root / "nowhere.json"), **wanted(3, 1))


def test_images_that_come_later_change_nothing(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 6, "blue": 6})
    keys = wanted(concepts={"red": "red", "blue": "blue"})
    path = tmp_path / "manifest.json"
    first = Folder(str(root), **keys)
    write_manifest(first.manifest, path)
    for i in range(5):
        photo(root / "red" / f"new{i}.png", "red", (40 + i, 8))
    assert Folder(str(root), manifest=str(path), **keys).manifest == first.manifest

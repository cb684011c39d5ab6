"""A person's own photos become a dataset, and it is said what they are too few for."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from composing import compose
from drawn import Drawn, photo, photos, wanted
from vwtransfer.config.photo_folders import anchors_for, concepts_in, prompt_name
from vwtransfer.datasets import BOXES, HELD_OUT, NAMES, NEGATIVES, notes_of
from vwtransfer.datasets.annotation import Annotation, Object
from vwtransfer.datasets.coco_json import read_instances
from vwtransfer.datasets.contact_sheet import Panel, draw_contact_sheet
from vwtransfer.datasets.dreambooth import DreamBooth
from vwtransfer.datasets.export import write_dreambooth
from vwtransfer.datasets.folder import Folder
from vwtransfer.datasets.proposals import Proposal, add_proposals, listed
from vwtransfer.errors import UserError

TWO = {"red": "red", "blue": "blue"}


def folder(root: Path, concepts: dict[str, str], **other: Any) -> Folder:
    sizes = {"training": 8, "held_out": 20}
    return Folder(str(root), **other, **wanted(**sizes, concepts=concepts))


def proposed(concepts: dict[str, str], images: int) -> list[Proposal]:
    """A box for each image that `photos` writes."""
    return [
        Proposal(f"{concept}/{i:02}.png", (12 + i, 8), concept, (1, 1, 5, 5), 0.5)
        for concept in concepts
        for i in range(images)
    ]


def counts(dataset: Any, concept: str) -> tuple[int, int]:
    return len(dataset.training(concept)), len(dataset.held_out(concept))


@pytest.mark.parametrize(
    ("images", "training", "held_out"), [(3, 2, 1), (4, 3, 1), (6, 5, 1), (9, 7, 2), (14, 8, 6)]
)
def test_a_quarter_is_held_out_and_what_is_beyond_the_training_images(
    tmp_path: Path, images: int, training: int, held_out: int
) -> None:
    dataset = folder(photos(tmp_path, {"red": images, "blue": images}), TWO)
    assert counts(dataset, "red") == (training, held_out)
    assert set(dataset.remarks.lacks) == {BOXES}
    noted = [line for line in dataset.remarks.noted if "red" in line and "training" in line]
    assert noted == ([] if training == 8 else [f"red: {training} training images instead of 8"])


def test_fewer_than_two_training_images_are_refused(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 2, "blue": 4})
    with pytest.raises(
        UserError, match=r"red has 2 training images, at least 2 .* one more to mea"
    ):
        folder(root, TWO)


def test_photos_in_a_folder_that_is_not_utf_8_are_said_to_be_renamed(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 3})
    named = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    (tmp_path / "red").rename(named)
    with pytest.raises(UserError, match=r"such as caf\\udce9/0\d.png: .* not UTF-8; rename it"):
        folder(tmp_path, dict(concepts_in(tmp_path)))


def test_a_single_folder_trains_with_all_it_has(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 5}) / "red"
    dataset = folder(root, concepts_in(root))
    assert counts(dataset, "red") == (5, 0)
    assert set(dataset.remarks.lacks) == {BOXES, NEGATIVES, HELD_OUT}
    assert "dataset.drawn.negatives=FOLDER" in dataset.remarks.lacks[NEGATIVES]


def test_of_a_single_folder_images_beyond_eight_are_held_out(tmp_path: Path) -> None:
    root = photos(tmp_path, {"red": 11}) / "red"
    dataset = folder(root, {"red": "red"})
    assert counts(dataset, "red") == (8, 3)
    assert set(dataset.remarks.lacks) == {BOXES, NEGATIVES}


def test_negatives_are_further_concepts_that_nothing_is_trained_for(tmp_path: Path) -> None:
    root = photos(tmp_path / "mine", {"red": 10})
    others = photos(tmp_path / "others", {"blue": 4, "lime": 4})
    dataset = folder(root, {"red": "red"}, negatives=str(others))
    assert dict(dataset.concepts) == {"red": "red", "blue": "blue", "lime": "lime"}
    assert counts(dataset, "blue") == (3, 1)
    assert dataset.training("blue")[0].id.startswith("negatives/blue/")
    assert dataset.training("blue")[0].load().getpixel((0, 0)) == (0, 0, 255)
    assert set(dataset.remarks.lacks) == {BOXES}
    with pytest.raises(UserError, match="has the name of a concept"):
        folder(root, {"red": "red"}, negatives=str(root))


def test_the_config_takes_concepts_and_anchors_from_the_folder(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 4, "blue": 4})
    root = f"dataset.folder.root={tmp_path}"
    config = compose(["dataset=folder", root]).dataset["folder"]
    assert dict(config.concepts) == {"blue": "blue", "red": "red"}
    assert config.anchors == ("blue", "red")
    given = compose(["dataset=folder", root, "anchor=dog"])
    assert given.dataset["folder"].anchors == ("dog",)
    assert given.products[0].anchors == ("dog",)


def test_a_name_of_several_words_needs_an_anchor() -> None:
    with pytest.raises(UserError, match="'my red dog' is not one word, so an anchor must be given"):
        anchors_for({"my_red_dog": "my red dog"}, "all")
    assert anchors_for({"my_red_dog": "my red dog"}, ["dog", "cat"]) == ["dog", "cat"]
    two_cats = {"cat1": "cat", "cat2": "cat", "dog1": "dog"}
    assert anchors_for(two_cats, "all") == ["cat", "dog"]
    assert anchors_for(two_cats, "paired") == ["cat", "cat", "dog"]  # the i-th of the i-th


def test_names_are_read_as_words() -> None:
    assert prompt_name("grey_sloth_plushie") == "grey sloth plushie"
    assert prompt_name("cat2") == prompt_name("cat_2") == "cat"
    assert prompt_name("2024") == "2024"
    assert prompt_name("30_cat") == prompt_name("10_cat_2") == "cat"
    assert prompt_name("2_chairs 2") == prompt_name("chairs-2") == "chairs"


def test_concepts_of_one_name_are_not_told_apart_by_it(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 3, "blue": 3, "lime": 3})
    names = {"red": "mug", "blue": " Mug"}
    lacks = folder(tmp_path, {**names, "lime": "lime"}).remarks.lacks
    assert "red and blue have the same name in prompts, 'mug'" in lacks[NAMES]
    assert set(lacks) == {BOXES, NAMES}  # other images are there: a classifier can be trained
    (remedy,) = re.findall("'(dataset.*?)'", lacks[NAMES])
    remedy = (
        remedy.replace("drawn", "folder").replace("NAME", "red mug", 1).replace("NAME", "blue mug")
    )
    asked = ["dataset=folder", f"dataset.folder.root={tmp_path}", "anchor=dog", remedy]
    told = compose(asked).dataset["folder"].concepts
    assert told == {"red": "red mug", "blue": "blue mug", "lime": "lime"}
    assert set(folder(tmp_path, dict(told)).remarks.lacks) == {BOXES}
    own, others = (
        photos(tmp_path / "own", {"red": 3}),
        photos(tmp_path / "n", {"tan": 3, "pink": 4}),
    )
    assert NAMES in folder(own, {"red": "Tan"}, negatives=str(others)).remarks.lacks
    (others / "tan").rename(others / "pink2")  # two rivals of one name are told from what is not
    assert NAMES not in folder(own, {"red": "red"}, negatives=str(others)).remarks.lacks


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="there are no images here"):
        concepts_in(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        concepts_in(tmp_path / "nowhere")
    photos(tmp_path, {"red": 3})
    with pytest.raises(UserError, match=r"concepts=rod: there is no .* Did you mean 'red'"):
        folder(tmp_path, {"rod": "rod"})


def test_folders_that_read_as_one_concept_are_refused(tmp_path: Path) -> None:
    for name in ("my dog", "my_dog"):
        photo(tmp_path / name / "a.png", "red")
    with pytest.raises(UserError, match="reads as the same concept"):
        concepts_in(tmp_path)


def test_boxes_go_by_path_or_by_a_name_that_only_one_image_has(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 3})
    for i in range(4):
        photo(root / "blue" / f"b{i}.png", "blue", (12 + i, 8))
    listed = [*(f"red/{i:02}.png" for i in range(3)), *(f"b{i}.png" for i in range(4))]
    top = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(listed)],
        "annotations": [
            {"image_id": i, "category_id": int(name.startswith("b")), "bbox": [1, 2, 3, 4]}
            for i, name in enumerate(listed)
        ],
        "categories": [{"id": 0, "name": "red"}, {"id": 1, "name": "blue"}],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(top))
    dataset = folder(root, TWO, boxes=str(path))
    assert dataset.remarks.lacks == {}
    for concept, sizes in (("red", (2, 1)), ("blue", (3, 1))):
        assert counts(dataset, concept) == sizes
        assert all(each.boxes == ((1, 2, 4, 6),) for each in dataset.training(concept))


def test_an_image_without_a_box_is_skipped_where_others_have_some(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 4, "blue": 4})
    path = tmp_path / "boxes.json"
    boxes = proposed(TWO, 4)
    add_proposals(path, boxes[1:])
    dataset = folder(root, TWO, boxes=str(path), allow_unverified=True)
    (skipped,) = dataset.remarks.skipped
    assert (skipped.file, skipped.reason) == ("red/00.png", "boxes.json does not name it")


def test_unverified_boxes_are_refused_unless_allowed(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 4, "blue": 4})
    path = tmp_path / "boxes.json"
    boxes = proposed(TWO, 4)
    add_proposals(path, boxes)
    with pytest.raises(UserError, match=r"nobody has verified the boxes of 8 of 8 images, such as"):
        folder(root, TWO, boxes=str(path))
    assert folder(root, TWO, boxes=str(path), allow_unverified=True).remarks.lacks == {}
    path.write_text(path.read_text().replace('"verified": false', '"verified": true'))
    assert folder(root, TWO, boxes=str(path)).training("red")[0].boxes == ((1, 1, 5, 5),)


def test_proposals_leave_what_a_person_wrote(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    assert listed(path) == set()
    add_proposals(path, [Proposal("red/1.png", (20, 10), "red", (1, 2, 11, 8), 0.75)])
    edited = json.loads(path.read_text())
    edited["annotations"][0].update(verified=True, bbox=[0, 0, 5, 5], note="by hand")
    path.write_text(json.dumps(edited))
    add_proposals(path, [Proposal("blue/1.png", (20, 10), "blue", (1, 2, 11, 8), 0.5)])
    top = json.loads(path.read_text())
    assert top["annotations"][0] == edited["annotations"][0]
    assert listed(path) == {"red/1.png", "blue/1.png"}
    found = read_instances(path).images["blue/1.png"]
    assert found == Annotation((20, 10), (Object("blue", (1, 2, 11, 8), verified=False),))


def test_the_contact_sheet_shows_every_image_with_its_boxes(tmp_path: Path) -> None:
    example = Drawn().training("red")[0]
    objects = (Object("red", example.boxes[0], verified=False),)
    panels = [Panel(f"{i}.jpg", example.load(), objects if i else ()) for i in range(8)]
    draw_contact_sheet(panels, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 6 * 248 + 8
        assert sheet.height == 2 * 280 + 8
        counted = sheet.convert("RGB").getcolors(1 << 20) or []
    colours = {colour for _, colour in counted}
    assert (0xD1, 0x24, 0x2F) in colours


def test_dreambooth_without_its_boxes_says_what_to_do(tmp_path: Path) -> None:
    write_dreambooth(Drawn(), tmp_path)
    (tmp_path / "boxes.json").unlink()
    with pytest.raises(
        UserError, match=r"boxes.json: there is no such file. action=propose_boxes has"
    ):
        DreamBooth(str(tmp_path), str(tmp_path / "boxes.json"), **wanted())
    dataset = DreamBooth(str(tmp_path), None, **wanted())
    assert set(notes_of(dataset).lacks) == {BOXES}


def test_a_concept_has_the_photos_of_all_folders_in_its_folder(tmp_path: Path) -> None:
    photos(tmp_path / "mug", {"red": 2, "tan": 3})
    photo(tmp_path / "mug" / "tan" / "best" / "a.png", "lime")
    photo(tmp_path / "mug" / "b.png", "lime", (9, 9))
    (tmp_path / "mug" / "again").symlink_to(tmp_path / "mug")  # a loop
    photos(tmp_path, {"blue": 4})
    dataset = folder(tmp_path, concepts_in(tmp_path))
    assert dict(dataset.concepts) == {"blue": "blue", "mug": "mug"}
    assert sum(counts(dataset, "mug")) == 7


def test_photos_beside_folders_of_photos_are_refused_with_what_to_write(tmp_path: Path) -> None:
    root = tmp_path / "my_photos"
    photos(root, {"red": 3})
    for i in range(12):
        photo(root / f"{i}.png", "lime", (20 + i, 8))
    said = r"12 images lie in it and 3 in its folders \(red\)"
    with pytest.raises(UserError, match=said) as e:
        concepts_in(root)
    (remedy,) = re.findall("write '(.*?)'", str(e.value))
    asked = ["dataset=folder", f"dataset.folder.root={root}", "anchor=dog", remedy]
    concepts = compose(asked).dataset["folder"].concepts
    assert sum(counts(folder(root, dict(concepts)), "my_photos")) == 15
    chosen = folder(root, {"red": "mug"})
    assert "my_photos: left out 12 images that lie beside the folders of" in chosen.remarks.noted[0]
    with pytest.raises(UserError, match=r"12 images lie in it .* Move the images of each concept"):
        folder(photos(tmp_path / "own", {"blue": 4}), {"blue": "blue"}, negatives=str(root))


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.mpo", "a.jp2", "a.ppm", "a.avif"])
def test_an_image_is_what_pil_opens(tmp_path: Path, name: str) -> None:
    kinds = {".mpo": "JPEG", ".jfif": "JPEG"}
    photo(tmp_path / "red" / name, "red", format=kinds.get(Path(name).suffix))
    photos(tmp_path, {"red": 3})
    assert sum(counts(folder(tmp_path, concepts_in(tmp_path)), "red")) == 4


def test_what_is_left_out_is_counted_with_its_reason(tmp_path: Path) -> None:
    root = photos(tmp_path / "mine", {"red": 5})
    thumbnails = ("red/@eaDir/00.png", "__MACOSX/red/._00.png", ".trash/red/00.png")
    left = ("red/._00.png", *thumbnails, "red/.DS_Store", "red/clip.mpg", "mug.zip", "other/a.mov")
    for name in left:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "empty").mkdir()
    dataset = folder(root, concepts_in(root))
    assert dict(dataset.concepts) == {"red": "red"}
    assert dataset.remarks.noted[:3] == (
        "mine: left out 4 hidden, or in a system's folder, such as .trash/red/00.png",
        "mine: left out 3 without an image's suffix, such as mug.zip",
        "mine: left out 2 folders of no image, such as empty",
    )
    with pytest.raises(UserError, match=r"no images here.* left out 1 without an image's suffix"):
        concepts_in(root / "other")


def test_a_concept_of_nothing_but_folders_is_taken_for_one_and_said_so(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"red": 3, "blue": 3})
    dataset = folder(tmp_path, concepts_in(tmp_path))
    assert counts(dataset, "train") == (6, 0)
    said = "train: its images lie in 2 folders, such as blue, .* if they are several, set root to "
    assert re.match(said + str(tmp_path / "train"), dataset.remarks.noted[0])

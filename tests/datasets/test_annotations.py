"""Boxes as exporters write them find their photos; one bad object costs itself, not its image."""

import json
import os
import shutil
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from drawn import CONCEPTS, WNIDS, Drawn, photos, rectangle, wanted
from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.coco_json import read_instances
from vwtransfer.datasets.export import write_coco, write_imagenet, write_pascal
from vwtransfer.datasets.folder import Folder
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.manifest import write_manifest
from vwtransfer.datasets.pascal import PascalVOC
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError

SAME = {concept: concept for concept in CONCEPTS}
XML = "2008_000000.xml"


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
def voc(disk: Path, tmp_path: Path) -> Path:
    return shutil.copytree(disk / "pascal" / "VOCdevkit" / "VOC2012", tmp_path / "VOC2012")


def load_coco(root: Path) -> Coco:
    return Coco(str(root), 2017, CONCEPTS, **wanted())


def load_voc(root: Path) -> PascalVOC:
    return PascalVOC(str(root), 2012, SAME, **wanted())


def load_imagenet(root: Path) -> ImageNet:
    return ImageNet(str(root / "imagenet"), "CLS-LOC", WNIDS, **wanted())


def instances(names: list[str], category: str = "red", **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": name, **image} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 7, "bbox": [1, 2, 3, 4]}
            for i in range(len(names))
        ],
        "categories": [{"id": 7, "name": category}],
    }


def with_boxes(tmp_path: Path, top: dict[str, Any], **other: Any) -> Folder:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(top))
    values = wanted(8, 20, concepts={"red": "red mug"})
    return Folder(str(tmp_path / "photos"), str(path), **values, **other)


@pytest.mark.parametrize(
    "spelled",
    [
        "red/{}.png",
        "red\\{}.png",
        "C:\\shots\\red\\{}.png",
        "images\\{}.PNG",
        "Red/{}.Png",
        "./red/{}.png",
        "file:///data/red/%30{0:.1}.png",
        "upload/1/3f2a1b9c-{}.png",
        "upload/1/3f2a1b9c-my_{}.png",
        "/data/local-files/?d=red/{}.png",
    ],
)
def test_a_photo_is_found_as_exporters_spell_it(tmp_path: Path, spelled: str) -> None:
    root = photos(tmp_path / "photos", {"red": 3}) / "red"
    names = ["a", "b", "c"]
    for path, name in zip(sorted(root.iterdir()), names, strict=True):
        before = "0" if "%30" in spelled else "my " if "my_" in spelled else ""
        path.rename(root / f"{before}{name}.png")
    dataset = with_boxes(tmp_path, instances([spelled.format(name) for name in names]))
    assert not dataset.remarks.skipped
    assert {each.boxes for each in dataset.training("red")} == {((1, 2, 4, 6),)}


def test_a_name_that_may_mean_two_photos_means_none(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", {"red": 4}) / "red"
    (root / "03.png").rename(root / "a.png")
    Image.new("RGB", (40, 8)).save(root / "A.PNG")
    dataset = with_boxes(tmp_path, instances(["00.png", "01.png", "02.png", "x/a.PnG"]))
    assert {each.file for each in dataset.remarks.skipped} == {"red/a.png", "red/A.PNG"}


@pytest.mark.parametrize("category", ["red", "Red", "RED MUG", "red_mug", "Red-Mug "])
def test_a_category_is_the_concept_that_it_spells(tmp_path: Path, category: str) -> None:
    root = photos(tmp_path / "photos", {"red": 3}) / "red"
    names = sorted(path.name for path in root.iterdir())
    dataset = with_boxes(tmp_path, instances(names, category))
    assert all(each.labels == ("red",) for each in dataset.training("red"))


def test_two_spellings_of_a_category_are_one_concept(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 4})
    top = instances(["00.png", "01.png", "02.png", "03.png"])
    top["categories"].append({"id": 8, "name": "Red Mug"})
    for each in top["annotations"][:2]:
        each["category_id"] = 8
    dataset = with_boxes(tmp_path, top)
    assert not dataset.remarks.skipped
    assert {each.labels for each in dataset.training("red")} == {("red",)}


@pytest.mark.parametrize(
    ("top", "said"),
    [
        (
            instances(["x.png", "y.png"]),
            r"boxes.json: names 2 images, such as x.png, and none of the 3 of dataset.drawn, such "
            r"as red/00.png",
        ),
        (instances([]), "names 0 images, and none of the 3"),
        (
            instances(["00.png"], "cup"),
            "has no category red or red mug; rename one there. Valid: cup",
        ),
        (
            instances(["00.png", "01.png"]),
            r"3 training images, 2 of them usable, .* Skipped: 1, such as .*does not name it\.",
        ),
        (
            instances(["00.png", "x.png", "y.png"]),
            r"3 training .* does not name it; 2 of its names are of no photo, such as x.png",
        ),
    ],
)
def test_boxes_of_nothing_say_what_they_are_of(
    tmp_path: Path, top: dict[str, Any], said: str
) -> None:
    photos(tmp_path / "photos", {"red": 3})
    with pytest.raises(UserError, match=said):
        with_boxes(tmp_path, top, negatives=str(photos(tmp_path / "others", {"blue": 3})))


def turned_photos(folder: Path, count: int) -> None:
    """64 x 48 pixels, shown as 48 x 64."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(count):
        path = folder / "red" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rectangle("red", (0.0, 0.0, 9.0, 9.0), gray=100 + i).save(path, exif=exif)


def test_where_a_box_only_fits_the_upright_photo_all_are_of_it(tmp_path: Path) -> None:
    turned_photos(tmp_path / "photos", 3)
    top = instances(["0.png", "1.png", "2.png"], width=64, height=48)
    top["annotations"][1]["bbox"] = [5, 50, 10, 10]
    dataset = with_boxes(tmp_path, top)
    assert {each.boxes for each in dataset.training("red")} == {((1, 2, 4, 6),), ((5, 50, 15, 60),)}
    top["annotations"][2]["bbox"] = [50, 5, 10, 10]
    with pytest.raises(
        UserError, match=r"red/1.png only fit the upright .* red/2.png only the sto"
    ):
        with_boxes(tmp_path, top)


NO_BOXES: list[Any] = [[], None, [float("nan")] * 4, [1, 2, 3], "wide", [1, 2, 0, 4], [10**400] * 4]


@pytest.mark.parametrize("bbox", NO_BOXES, ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_an_object_without_a_box_costs_itself_wherever_it_stands(
    coco: Path, bbox: Any, first: bool
) -> None:
    before = [(each.id, each.boxes) for each in load_coco(coco).training("red")]
    path = coco / "annotations" / "instances_train2017.json"
    top = json.loads(path.read_text())
    extra = {**top["annotations"][0], "id": 99, "bbox": bbox}
    top["annotations"].insert(0 if first else len(top["annotations"]), extra)
    path.write_text(json.dumps(top))
    dataset = load_coco(coco)
    assert [(each.id, each.boxes) for each in dataset.training("red")] == before
    (skipped,) = dataset.remarks.skipped
    assert skipped.reason.startswith("an object of it is left out: ")


@pytest.mark.parametrize("first", [True, False])
def test_an_object_of_an_xml_without_a_box_costs_itself(voc: Path, first: bool) -> None:
    path = voc / "Annotations" / XML
    parts = path.read_text().partition("  <object>" if first else "</annotation>")
    path.write_text(f"{parts[0]}<object><name>red</name></object>{parts[1]}{parts[2]}")
    dataset = load_voc(voc)
    assert "JPEGImages/2008_000000.jpg" in {each.id for each in dataset.training("red")}
    assert len(dataset.remarks.skipped) == 1


def test_boxes_in_fractions_of_the_image_are_refused_with_the_counts(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    top = json.loads(path.read_text())
    for each in top["annotations"]:
        each["bbox"] = [value / 100 for value in each["bbox"]]
    path.write_text(json.dumps(top))
    said = (
        r"has 4 training images, 0 of them usable, .* Skipped: 4, such .* in pixels, not in fract"
    )
    with pytest.raises(UserError, match=said):
        load_coco(coco)


ENCODINGS = ["gb2312", "ISO-8859-1", "UTF-16", "utf-8-sig", "utf-16-le", "UTF-16 in bytes"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_xml_is_read_in_its_encoding(voc: Path, tmp_path: Path, encoding: str) -> None:
    text = (voc / "Annotations" / XML).read_text()
    name = "红" if encoding == "gb2312" else "pokémon"
    declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n'
    path = tmp_path / "a.xml"
    declared = declared.replace(" in bytes", "")
    written = "utf-8" if "bytes" in encoding else encoding
    path.write_bytes((declared + text.replace("<name>red", f"<name>{name}")).encode(written))
    assert read_xml(path).category() == name


def test_no_encoding_takes_long(tmp_path: Path) -> None:
    declared = b'<?xml version="1.0" encoding="PunyCode"?><annotation/>'
    (tmp_path / "a.xml").write_bytes(declared + b"a" * 1_000_000 + b"-" + b"b" * 1_000_000)
    began = time.process_time()
    with pytest.raises(UnusableError, match="is cut off or not XML"):
        read_xml(tmp_path / "a.xml")
    assert time.process_time() - began < 5  # by that codec, many minutes


def test_a_byte_order_mark_is_no_part_of_json_list_or_csv(disk: Path, tmp_path: Path) -> None:
    root = shutil.copytree(disk, tmp_path / "all")
    marked = [
        *root.glob("coco/annotations/*.json"),
        *root.glob("pascal/VOCdevkit/VOC2012/ImageSets/Main/*.txt"),
        root / "imagenet" / "LOC_val_solution.csv",
    ]
    texts = [path.read_text() for path in marked]
    for encoding in ("utf-8-sig", "utf-16"):
        for path, text in zip(marked, texts, strict=True):
            path.write_text(text, encoding=encoding)
        for dataset in (load_coco(root / "coco"), load_voc(root / "pascal"), load_imagenet(root)):
            assert not dataset.remarks.skipped
            assert len(dataset.training("red")) == 4
    marked[-1].write_text(texts[-1].replace(",", ";"))  # as spreadsheets write where , is decimal
    assert len(load_imagenet(root).held_out("red")) == 2
    marked[-1].write_text("ImageId,PredictionString")
    with pytest.raises(UserError, match=r"solution.csv: has no lines"):
        load_imagenet(root)
    marked[0].write_text('{"images": "ß"}', encoding="latin-1")
    with pytest.raises(UserError, match="is not in UTF-8"):
        read_instances(marked[0])


def renamed(voc: Path, new: str) -> None:
    for path in (voc / "Annotations" / XML, voc / "JPEGImages" / "2008_000000.jpg"):
        path.rename(path.with_name(new + path.suffix))


def png(voc: Path, name: str, stated: str = "") -> None:
    """The image becomes a PNG, whose name the XML may state."""
    image = voc / "JPEGImages" / "2008_000000.jpg"
    Image.open(image).save(image.with_name(name))
    image.unlink()
    xml = voc / "Annotations" / XML
    if stated:
        start, rest = xml.read_text().split("<filename>")
        xml.write_text(f"{start}<filename>{stated}</filename>{rest.partition('</filename>')[2]}")


@pytest.mark.parametrize(
    ("change", "line", "image"),
    [
        (lambda voc: renamed(voc, "my photo 1"), "my photo 1", "my photo 1.jpg"),
        (lambda voc: renamed(voc, "my photo"), "my photo  -1", "my photo.jpg"),
        (lambda voc: None, "2008_000000.jpg", "2008_000000.jpg"),
        (lambda voc: None, "2008_000000  1", "2008_000000.jpg"),
        (lambda voc: None, "/data/JPEGImages/2008_000000.jpg", "2008_000000.jpg"),
        (lambda voc: None, r"JPEGImages\2008_000000.jpg", "2008_000000.jpg"),
        (lambda voc: png(voc, "2008_000000.png"), "2008_000000", "2008_000000.png"),
        (lambda voc: png(voc, "2008_000000.BMP"), "2008_000000", "2008_000000.BMP"),
        (lambda voc: png(voc, "IMG 1.png", "IMG 1.png"), "2008_000000", "IMG 1.png"),
        (lambda voc: png(voc, "IMG.png", r"C:\x\IMG.png"), "2008_000000", "IMG.png"),
    ],
)
def test_a_line_of_a_list_is_an_image(
    voc: Path, change: Callable[[Path], None], line: str, image: str
) -> None:
    change(voc)
    path = voc / "ImageSets" / "Main" / "train.txt"
    path.write_text(path.read_text().replace("2008_000000", line))
    dataset = load_voc(voc)
    assert f"JPEGImages/{image}" in {each.id for each in dataset.training("red")}
    assert not dataset.remarks.skipped


def test_annotations_of_windows_name_files_here(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"file_name": "', '"file_name": "sub\\\\'))
    (coco / "train2017" / "sub").mkdir()
    for image in (coco / "train2017").glob("*.jpg"):
        image.rename(image.parent / "sub" / image.name)
    assert len(load_coco(coco).training("red")) == 4


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('"file_name": "', '"file_name": "train2017/'),
        ('"file_name": "', '"file_name": "http://images.cocodataset.org/train2017/'),
        ('.jpg"', '.JPG"'),
        ('"iscrowd": 0', '"iscrowd": "0"'),
        ('"category_id": 1,', '"category_id": "1",'),
        ('"image_id": 1,', '"image_id": 1.0,'),
    ],
)
def test_layouts_are_read_as_exporters_write_them(coco: Path, written: str, instead: str) -> None:
    before = [(each.id, each.boxes) for each in load_coco(coco).training("red")]
    path = coco / "annotations" / "instances_train2017.json"
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, instead))
    assert [(each.id, each.boxes) for each in load_coco(coco).training("red")] == before


def test_two_categories_of_one_id_are_refused(coco: Path) -> None:
    path = coco / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"id": 2,\n      "name"', '"id": 1,\n      "name"'))
    with pytest.raises(UserError, match="2 categories have the id 1"):
        load_coco(coco)


def test_an_object_of_no_image_is_listed_where_the_photos_are_a_folder(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 3})
    top = instances(["00.png", "01.png", "02.png"])
    top["annotations"].append({**top["annotations"][0], "image_id": 77})
    (skipped,) = with_boxes(tmp_path, top).remarks.skipped
    assert skipped.reason == "there is no image with id 77"


def test_boxes_of_crowds_alone_are_said_to_be_such(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 3})
    top = instances(["00.png", "01.png", "02.png"])
    for each in top["annotations"]:
        each["iscrowd"] = 1
    with pytest.raises(UserError, match=r"no box of red is annotated, but of red \(crowd or diff"):
        with_boxes(tmp_path, top)


PLACES = (
    "coco/annotations/instances_train2017.json",
    "pascal/VOCdevkit/VOC2012/ImageSets/Main/train.txt",
    f"pascal/VOCdevkit/VOC2012/Annotations/{XML}",
)


@pytest.mark.parametrize("file", PLACES)
def test_a_pipe_among_annotations_is_not_waited_for(disk: Path, tmp_path: Path, file: str) -> None:
    layout, load = LAYOUTS[file]
    root = shutil.copytree(disk / layout, tmp_path / layout)
    (tmp_path / file).unlink()
    os.mkfifo(tmp_path / file)
    if file.endswith(".xml"):
        (skipped,) = load(root).remarks.skipped
        assert skipped.reason.endswith("cannot be read (a pipe or a device)")
    else:
        with pytest.raises(UserError, match=r"cannot be read \(a pipe or a device\)"):
            load(root)


def test_a_category_that_no_annotation_has_is_refused_with_the_nearest(voc: Path) -> None:
    with pytest.raises(
        UserError, match=r"categories: Red is no category of .*Annotations. Did you"
    ):
        PascalVOC(str(voc), 2012, SAME | {"red": "Red"}, **wanted())


def test_a_refusal_counts_what_was_skipped_while_annotations_were_read(voc: Path) -> None:
    for path in (voc / "Annotations").glob("*.xml"):
        text = path.read_text()
        path.write_text(text[:99] if "<name>red" in text else text)
    said = r"red has 0 training images, at least 2 .* Skipped: 6, such as JPEGImages/.*cut off"
    with pytest.raises(UserError, match=said):
        load_voc(voc)


def test_images_without_annotations_are_refused_by_where_these_would_lie(
    disk: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(disk / "imagenet", tmp_path / "imagenet")
    shutil.rmtree(root / "ILSVRC" / "Annotations" / "CLS-LOC" / "train")
    with pytest.raises(UserError, match=r"Annotations/CLS-LOC/train/.*: there are no XML files"):
        ImageNet(str(root), "CLS-LOC", WNIDS, **wanted())


def mutations() -> st.SearchStrategy[list[tuple[int, int, bytes]]]:
    """Cuts of a file at a place, so many bytes long, and what stands there instead."""
    odd = [b"", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"<", b"&", b"\0", b"\xff"]
    odd += [b"9" * 5000, b"[" * 5000, b"true", b"..", b"/", b"\\ud800", b"\xef\xbb\xbf", b"gb2312"]
    put = st.sampled_from(odd) | st.binary(max_size=8)
    return st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 40), put), min_size=1, max_size=4
    )


LAYOUTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "coco/annotations/instances_train2017.json": ("coco", load_coco),
    f"pascal/VOCdevkit/VOC2012/Annotations/{XML}": ("pascal", load_voc),
    "pascal/VOCdevkit/VOC2012/ImageSets/Main/train.txt": ("pascal", load_voc),
    "imagenet/LOC_val_solution.csv": (
        "imagenet",
        lambda root: ImageNet(str(root), "CLS-LOC", WNIDS, **wanted()),
    ),
}


@pytest.mark.parametrize("file", LAYOUTS)
def test_a_damaged_annotation_ends_in_annotations_or_one_line(
    disk: Path, tmp_path: Path, file: str
) -> None:
    layout, load = LAYOUTS[file]
    root = shutil.copytree(disk / layout, tmp_path / layout)
    path = tmp_path / file
    whole = path.read_bytes()

    @settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(mutations())
    def damaged(changes: list[tuple[int, int, bytes]]) -> None:
        data = whole
        for place, length, put in changes:
            start = place % len(whole)
            data = data[:start] + put + data[start + length :]
        path.write_bytes(data)
        try:
            load(root).training("red")
        except UserError as error:
            assert "\n" not in str(error)

    damaged()


ODD: list[Any] = [
    None,
    True,
    -1,
    0.5,
    10**400,
    float("nan"),
    "",
    "x\0",
    "\ud800",
    "../x",
    [],
    [[]],
    {},
    {"id": []},
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON: what holds it, and its key there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = [(value, key) for key, _ in pairs]
    inner = [value[key] for _, key in found]
    return found + [
        place for each in inner if isinstance(each, dict | list) for place in places(each)
    ]


def test_any_value_at_any_place_of_a_json_ends_in_annotations_or_one_line(coco: Path) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    text = path.read_text()

    @settings(
        max_examples=40,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from(ODD)), min_size=1))
    def changed(changes: list[tuple[int, Any]]) -> None:
        top = json.loads(text)
        for place, odd in changes:
            every = places(top)
            holder, key = every[place % len(every)]
            holder[key] = deepcopy(odd)
        path.write_text(json.dumps(top))
        try:
            write_manifest(load_coco(coco).manifest, coco / "manifest.json")
        except UserError as error:
            assert "\n" not in str(error)

    changed()

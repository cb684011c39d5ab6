"""Whatever kind of image file a dataset holds is read as a viewer shows it, and boxes fit it."""

import io
import itertools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from drawn import photo, rectangle, wanted
from vwtransfer.datasets import Box
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.boxes import fitted, from_corners, from_width, turned
from vwtransfer.datasets.folder import Folder
from vwtransfer.datasets.images import examine, read_image
from vwtransfer.datasets.manifest import read_manifest, write_manifest
from vwtransfer.errors import UserError

RED = (254, 0, 0)  # what JPEG makes of (255, 0, 0)


@pytest.mark.parametrize(
    ("name", "mode", "colour", "expected"),
    [
        ("gray.jpg", "L", (128, 128, 128), (128, 128, 128)),
        ("gray.png", "L", (128, 128, 128), (128, 128, 128)),
        ("palette.png", "P", (255, 0, 0), (255, 0, 0)),
        ("palette.gif", "P", (255, 0, 0), (255, 0, 0)),
        ("bits.png", "1", (255, 255, 255), (255, 255, 255)),
        ("cmyk.jpg", "CMYK", (255, 0, 0), RED),
        ("ycc.jpg", "YCbCr", (255, 0, 0), RED),
        ("colour.webp", "RGB", (0, 0, 255), (0, 0, 255)),
    ],
)
def test_any_kind_of_pixels_becomes_rgb(
    tmp_path: Path, name: str, mode: str, colour: tuple[int, int, int], expected: tuple[int, ...]
) -> None:
    image = Image.new("RGB", (8, 8), colour).convert(mode)
    image.save(tmp_path / name, lossless=True)  # of these only WebP looks at it
    image = read_image(tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    assert np.allclose(np.asarray(image), expected, atol=2)


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    half.putpixel((1, 0), (0, 0, 0, 0))
    half.save(tmp_path / "rgba.png")
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    Image.new("LA", (2, 1), (0, 0)).save(tmp_path / "la.png")
    for name, first in (("rgba.png", (255, 0, 0)), ("palette.png", (255, 0, 0))):
        image = read_image(tmp_path / name)
        assert image.getpixel((0, 0)) == first
        assert image.getpixel((1, 0)) == (255, 255, 255)
    assert read_image(tmp_path / "la.png").getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    levels = np.array([[0, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        assert np.asarray(read_image(tmp_path / name))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_upright_and_its_boxes_turn_with_it(
    tmp_path: Path, orientation: int
) -> None:
    box = (10.0, 6.0, 30.0, 20.0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = rectangle("red", box)
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == examine(tmp_path / "turned.png").upright_size
    assert red_box(upright) == turned(box, stored.size, orientation)


def red_box(image: Image.Image) -> Box:
    """Where the image is red."""
    red_HW = (np.asarray(image).astype(int) @ [1, -1, -1]) > 100
    (y,), (x,) = (np.nonzero(red_HW.any(axis=axis)) for axis in (1, 0))
    return (float(x[0]), float(y[0]), float(x[-1] + 1), float(y[-1] + 1))


@pytest.mark.parametrize("annotated", ["stored", "upright", "unknown"])
def test_boxes_fit_a_turned_photo_whichever_way_it_was_annotated(
    tmp_path: Path, annotated: str
) -> None:
    box = (10.0, 6.0, 30.0, 20.0)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = turned(box, (64, 48), 6)
    x0, y0, x1, y1 = box if annotated == "stored" else upright
    size = {"stored": (64, 48), "upright": (48, 64), "unknown": (None, None)}[annotated]
    images, annotations = [], []
    for i in range(4):
        path = tmp_path / "photos" / "red" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rectangle("red", box, gray=100 + i).save(path, exif=exif)
        frame = {} if annotated == "unknown" else {"width": size[0], "height": size[1]}
        images.append({"id": i, "file_name": f"red/{i}.png", **frame})
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        )
    listed = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "red"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(listed))
    dataset = Folder(
        str(tmp_path / "photos"), str(tmp_path / "boxes.json"), **wanted(concepts={"red": "red"})
    )
    for example in dataset.training("red"):
        assert example.boxes == (upright,) == (red_box(example.load()),)


def test_each_formats_corners_become_edges() -> None:
    assert from_corners(1, 1, 64, 48) == (0, 0, 64, 48)  # PASCAL VOC: first and last pixel, from 1
    assert from_width(0, 0, 64, 48) == (0, 0, 64, 48)  # COCO: from 0, width and height


def test_boxes_are_cut_at_the_edge_by_a_pixel_of_rounding_and_no_more() -> None:
    assert fitted((-1, 0, 64.4, 48), (64, 48)) == (0, 0, 64, 48)
    for box, reason in [
        ((-2, 0, 10, 10), "reaches out of the image of 64 x 48 pixels"),
        ((0, 0, 66, 10), "reaches out"),
        ((70, 0, 80, 10), "reaches out"),
        ((5, 5, 5, 10), "has no area"),
        ((9, 5, 5, 10), "has no area"),
        ((float("nan"), 0, 5, 5), "not made of finite numbers"),
        ((0, 0, float("inf"), 5), "not made of finite numbers"),
    ]:
        with pytest.raises(UnusableError, match=reason):
            fitted(box, (64, 48))


def truncated(path: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(stream, format="JPEG")
    path.write_bytes(stream.getvalue()[:1500])


def bomb(path: Path) -> None:
    path.write_bytes(b"P4 20000 10000\n")  # a header is all that is read


def starting(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data + bytes(100))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "phone.heic": (starting(b"\0\0\0\x18ftypheic"), "it is HEIC; convert it to JPEG"),
    "burst.jpg": (starting(b"\0\0\0\x18ftypmif1"), "it is HEIC"),
    "live.jpg": (starting(b"\0\0\0\x18ftypqt  "), "it is a video"),
    "lfs.jpg": (starting(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "page.jpg": (starting(b"\n<!DOCTYPE html><html>"), "it is an HTML page"),
    "program.jpg": (starting(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "PostScript, which is a program"),
    "pipe.jpg": (os.mkfifo, "cannot be read .a pipe"),
    "truncated.jpg": (truncated, "damaged image"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text.jpg": (lambda path: path.write_text("no image"), "not an image that PIL can read"),
    "bomb.png": (bomb, "the image has more than 89,478,485 pixels"),
    "float.tif": (lambda path: Image.new("F", (4, 4)).save(path), "floating-point pixels"),
    "missing.jpg": (lambda path: None, "there is no such file"),
    "folder.jpg": (lambda path: path.mkdir(), "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_image_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    write, reason = BROKEN[name]
    write(tmp_path / name)
    with pytest.raises(UnusableError, match=reason):
        examine(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: .*{reason}"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("file", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "C:\\x", "", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(UnusableError, match="leaves the dataset's folder"):
        path_inside(tmp_path, file)
    assert path_inside(tmp_path, "a/b.jpg") == tmp_path / "a" / "b.jpg"


def test_a_png_with_long_texts_is_an_image(tmp_path: Path) -> None:
    texts = PngInfo()
    for key in ("workflow", "prompt"):
        texts.add_text(key, "node " * 400_000, zip=True)
    photo(tmp_path / "a.png", "red", pnginfo=texts)
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 0, 0)


def test_a_plain_photo_is_what_it_was(tmp_path: Path) -> None:
    path = photo(tmp_path / "plain.png", "red")
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)


P3 = {  # columns are X, Y, Z of its primaries, adapted to D50
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def display_p3() -> bytes:
    """The profile of photos from phones: sRGB's with other primaries."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (tags,) = struct.unpack_from(">I", data, 128)
    for i in range(tags):
        name, start, _ = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if name in P3:
            struct.pack_into(">3i", data, start + 8, *(round(v * 65536) for v in P3[name]))
    return bytes(data)


def p3_as_srgb(colour: tuple[int, ...]) -> list[float]:
    """By the definition of both colour spaces."""
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    there = np.linalg.solve(np.array(SRGB).T, np.array(list(P3.values())).T @ linear).clip(0, 1)
    back = np.where(there <= 0.0031308, there * 12.92, 1.055 * there ** (1 / 2.4) - 0.055)
    return list(back * 255)


@pytest.mark.parametrize("colour", [(200, 100, 50), (60, 180, 90), (128, 128, 128), (255, 0, 0)])
@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGB"), ("a.png", "RGBA"), ("a.png", "P")])
def test_colours_of_a_profile_become_those_of_srgb(
    tmp_path: Path, name: str, mode: str, colour: tuple[int, int, int]
) -> None:
    image = Image.new("RGB", (4, 4), colour).convert(mode)
    image.save(tmp_path / name, icc_profile=display_p3())
    stored = read_image(tmp_path / name, use_profile=False).getpixel((1, 1))
    assert stored == image.convert("RGB").getpixel((1, 1))
    found = read_image(tmp_path / name).getpixel((1, 1))
    assert found == pytest.approx(p3_as_srgb(stored), abs=1.6)  # type: ignore[arg-type]
    assert examine(tmp_path / name).profile


def test_of_transparent_pixels_only_the_colour_is_converted(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png", icc_profile=display_p3())
    found = read_image(tmp_path / "a.png")
    assert found.getpixel((0, 0)) == pytest.approx(p3_as_srgb((200, 100, 50)), abs=1.6)
    assert found.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("profile", ["sRGB", "broken", "of CMYK", "none"])
def test_pixels_without_a_profile_of_their_own_stay_as_they_are(
    tmp_path: Path, profile: str
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wrong = srgb[:16] + b"CMYK" + srgb[20:]
    data = {"sRGB": srgb, "broken": b"no profile", "of CMYK": wrong, "none": None}[profile]
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", icc_profile=data)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), noise)
    assert examine(tmp_path / "a.png").profile is None


def test_gray_pixels_are_converted_from_a_profile_of_gray_or_of_colours(tmp_path: Path) -> None:
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    Image.new("L", (2, 2), 90).save(tmp_path / "a.png", icc_profile=display_p3())
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == pytest.approx((90, 90, 90), abs=1)
    srgb[16:20] = b"GRAY"  # without a gray curve it cannot be used
    Image.new("L", (2, 2), 90).save(tmp_path / "b.png", icc_profile=bytes(srgb))
    assert read_image(tmp_path / "b.png").getpixel((0, 0)) == (90, 90, 90)


def a_profile(space: bytes, pcs: bytes, tag: bytes, data: bytes) -> bytes:
    """A whole ICC profile around one table of colours (ICC.1:2001-04)."""
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    name = b"desc\0\0\0\0\0\0\0\5Some\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0-\0", b"wtpt": b"XYZ \0\0\0\0" + d50, tag: data}
    start, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for key, each in tags.items():
        table += struct.pack(">4sII", key, start + len(body), len(each))
        body += each + bytes(-len(each) % 4)
    head = struct.pack(">I4sI", start + len(body), b"lcms", 0x02400000) + b"prtr" + space + pcs
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + d50
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("gamma", [1.0, 1.8])
@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "L"), ("a.png", "LA"), ("a.png", "I;16")])
def test_gray_of_another_curve_becomes_that_of_srgb(
    tmp_path: Path, name: str, mode: str, gamma: float
) -> None:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    image = Image.new("L", (4, 4), 90).convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 4), 90 * 257, dtype=np.uint16))
    image.save(tmp_path / name, icc_profile=a_profile(b"GRAY", b"XYZ ", b"kTRC", curve))
    shown = 255 * (1.055 * ((90 / 255) ** gamma) ** (1 / 2.4) - 0.055)
    assert read_image(tmp_path / name).getpixel((0, 0)) == pytest.approx((shown,) * 3, abs=1)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_inks_are_read_as_their_profile_prints_them(tmp_path: Path, name: str) -> None:
    inks = list(itertools.product((0, 1), repeat=4))  # cyan, magenta, yellow, black: L*, a*, b*
    prints = bytes(v for c, m, y, k in inks for v in (round(255 * (1 - k) * (1 - c / 2)), 128, 128))
    same = bytes(range(256))
    ones = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0\4\3\2\0" + ones + same * 4 + prints + same * 3
    profile = a_profile(b"CMYK", b"Lab ", b"A2B0", table)
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / name, icc_profile=profile)
    shown = 255 * (1.055 * ((50 + 16) / 116) ** (3 / 2.4) - 0.055)  # of L* = 50
    assert read_image(tmp_path / name).getpixel((0, 0)) == pytest.approx((shown,) * 3, abs=3)
    plain = read_image(tmp_path / name, use_profile=False)
    assert plain.getpixel((0, 0)) == pytest.approx((0, 255, 255), abs=2)
    assert examine(tmp_path / name).profile == "Some"


def test_a_study_reads_colours_as_when_it_was_begun(tmp_path: Path) -> None:
    for i, data in enumerate((display_p3(), None, None)):
        photo(tmp_path / "red" / f"{i}.png", "#c86432", (9 + i, 8), icc_profile=data)
    keys = wanted(concepts={"red": "red"})
    path = tmp_path / "manifest.json"
    write_manifest(Folder(str(tmp_path), **keys).manifest, path)
    assert [bool(each.profile) for each in read_manifest(path).of("red", "training")].count(
        True
    ) == 1
    top = json.loads(path.read_text())
    for image in top["images"]:
        del image["profile"]  # as before profiles were read
    for text, colours in ((path.read_text(), 2), (json.dumps(top), 1)):
        path.write_text(text)
        examples = Folder(str(tmp_path), manifest=str(path), **keys).training("red")
        assert len({each.load().getpixel((0, 0)) for each in examples}) == colours

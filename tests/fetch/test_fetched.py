"""What is fetched of each layout is what a full copy's choice takes, whatever the server does."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from command_line import vwtransfer
from drawn import CONCEPTS, WNIDS, Drawn, wanted
from served import Site, served
from vwtransfer.config.composition import compose
from vwtransfer.config.fetching import FetchConfig
from vwtransfer.datasets.coco import Coco
from vwtransfer.datasets.dreambooth import DreamBooth
from vwtransfer.datasets.export import write_coco, write_dreambooth, write_imagenet, write_pascal
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.manifest import Photo, write_manifest
from vwtransfer.datasets.pascal import PascalVOC
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.errors import UserError
from vwtransfer.fetch import coco, dreambooth, imagenet, pascal
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.items import Item
from vwtransfer.fetch.record import Record, alone_in
from vwtransfer.fetch.session import Session
from vwtransfer.progress import Stages

PUBLISHED = "http://images.cocodataset.org/"
ARCHIVE = "coco/annotations/annotations_trainval2017.zip"
SAME = {concept: concept for concept in CONCEPTS}
KEYS: Mapping[str, dict[str, Any]] = {
    "coco": {"edition": 2017, "categories": CONCEPTS},
    "pascal": {"edition": 2012, "categories": SAME},
    "imagenet": {"layout": "CLS-LOC", "wnids": WNIDS},
    "dreambooth": {"boxes": None},
}
LOADERS: Mapping[str, Callable[..., ImageFileDataset]] = {
    "coco": Coco,
    "pascal": PascalVOC,
    "imagenet": ImageNet,
    "dreambooth": DreamBooth,
}
FETCH = {
    "coco": coco.fetch,
    "pascal": pascal.fetch,
    "imagenet": imagenet.fetch,
    "dreambooth": dreambooth.fetch,
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full copies, which are served too, with what they are published in."""
    root = tmp_path_factory.mktemp("full")
    write_coco(Drawn(), root / "coco", address=PUBLISHED)
    write_pascal(Drawn(), root / "pascal")
    write_imagenet(Drawn(), root / "imagenet", WNIDS)
    write_dreambooth(Drawn(), root / "dreambooth")
    with zipfile.ZipFile(root / ARCHIVE, "w") as zipped:
        for path in (root / "coco" / "annotations").glob("*.json"):
            zipped.write(path, f"annotations/{path.name}")
        zipped.writestr("../instances_train2017.json.evil", "escaped")
    with tarfile.open(root / "voc.tar", "w") as tarred:
        tarred.add(root / "pascal" / "VOCdevkit", "VOCdevkit")
        for name in ("../../evil", "/tmp/evil", "VOCdevkit/VOC2012/JPEGImages/../../evil"):
            tarred.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("VOCdevkit/VOC2012/Annotations")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tarred.addfile(link)
    photos = sorted((root / "dreambooth" / "dataset").glob("*/*.jpg"))
    tree = [{"path": "README.md", "type": "blob", "sha": "0", "size": 1}] + [
        {
            "path": path.relative_to(root / "dreambooth").as_posix(),
            "type": "blob",
            "sha": git_sha1(path.read_bytes()),
            "size": path.stat().st_size,
        }
        for path in photos
    ]
    (root / "tree.json").write_text(json.dumps({"tree": tree, "truncated": False}))
    return root


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@pytest.fixture(scope="module")
def server(full: Path) -> Iterator[Site]:
    with served(full) as found:
        yield found


@pytest.fixture
def site(server: Site) -> Site:
    server.faults.clear()
    server.asked.clear()
    return server


@pytest.fixture(scope="module")
def settings(server: Site, full: Path) -> FetchConfig:
    found = compose().fetch
    assert found is not None
    return replace(
        found,
        mirrors=(
            (PUBLISHED, f"{server.address}coco/"),
            (
                "https://raw.githubusercontent.com/google/dreambooth/main/",
                f"{server.address}dreambooth/",
            ),
        ),
        timeout_s=0.3,
        backoff_s=0.01,
        attempts=3,
        coco=replace(
            found.coco, md5={"2017": hashlib.md5((full / ARCHIVE).read_bytes()).hexdigest()}
        ),
        pascal=replace(
            found.pascal,
            archive=f"{server.address}voc.tar",
            md5=hashlib.md5((full / "voc.tar").read_bytes()).hexdigest(),
        ),
        dreambooth=replace(found.dreambooth, listing=f"{server.address}tree.json?recursive=1"),
    )


@pytest.fixture(scope="module")
def downloads(settings: FetchConfig) -> Iterator[Downloads]:
    with Downloads(settings) as found:
        yield found


@pytest.fixture
def session(downloads: Downloads) -> Session:
    console = Console(file=io.StringIO(), width=200)
    return Session(downloads.settings, downloads, Stages(None, console), console)


def node(layout: str, root: Path, **other: Any) -> dict[str, Any]:
    chosen = wanted(training=2, held_out=1)
    return {"root": str(root), **KEYS[layout], **chosen, "manifest": None, **other}


def chosen(layout: str, root: Path, **other: Any) -> tuple[Photo, ...]:
    return LOADERS[layout](**node(layout, root, **other)).manifest.images


def said(session: Session) -> str:
    assert isinstance(session.console.file, io.StringIO)
    return session.console.file.getvalue()


def photos_in(root: Path) -> list[str]:
    return sorted(
        path.name for path in root.rglob("*.*") if path.suffix.lower() in (".jpg", ".jpeg")
    )


@pytest.mark.parametrize("layout", LOADERS)
def test_what_comes_is_what_a_full_copy_gives_and_no_more(
    layout: str, full: Path, site: Site, session: Session, tmp_path: Path
) -> None:
    for path in ("coco/train2017/000000000003.jpg", "coco/val2017/000000000001.jpg"):
        site.faults[path] = ["cut", "429 0"]
    for path in (ARCHIVE, "voc.tar", "dreambooth/dataset/red/00.jpg"):
        site.faults[path] = ["cut", "503", "damaged once", "stall"]
    if layout == "imagenet":
        local = replace(session.settings.imagenet, copy=full / "imagenet")
        session = replace(session, settings=replace(session.settings, imagenet=local))
    root = tmp_path / layout
    FETCH[layout](node(layout, root), session)
    expected = chosen(layout, full / layout)
    assert chosen(layout, root) == expected
    assert photos_in(root) == sorted(Path(each.file).name for each in expected) or (
        layout == "dreambooth" and len(photos_in(root)) == 18  # all of its subjects' photos
    )
    assert not list(root.rglob("*.part*")) and not list(tmp_path.rglob("*evil*"))
    recorded = json.loads((root / "fetched.json").read_text())["files"]
    hashes = {entry["sha256"] for entry in recorded.values()}
    assert {each.sha256 for each in expected} <= hashes
    assert f"drawn: {len(photos_in(root))} photos" in said(session) or layout == "pascal"
    site.asked.clear()
    FETCH[layout](node(layout, root), session)
    assert not site.asked  # nothing is asked for twice
    assert not [*root.glob("*.zip"), *root.glob("*.tar")]


def test_photos_that_are_not_there_are_named_and_the_next_take_their_places(
    full: Path, site: Site, session: Session, tmp_path: Path
) -> None:
    gone, damaged = chosen("coco", full / "coco")[:2]
    site.faults[f"coco/{gone.file}"] = ["404"]
    site.faults[f"coco/{damaged.file}"] = ["damaged"]
    coco.fetch(node("coco", tmp_path / "coco"), session)
    less = shutil.copytree(full / "coco", tmp_path / "less")
    (less / gone.file).unlink()
    (less / damaged.file).write_text("<html>no photo</html>")  # which a full copy would hold
    assert chosen("coco", tmp_path / "coco") == chosen("coco", less)
    assert "2 photos cannot be had" in said(session)
    assert f"{gone.file} ({PUBLISHED}{gone.file}: the server answered 404" in said(session)
    assert site.count(f"coco/{damaged.file}") == 2


def test_a_server_without_the_photos_is_given_up(
    full: Path, site: Site, session: Session, tmp_path: Path
) -> None:
    for path in (full / "coco").rglob("*.jpg"):
        site.faults[f"coco/{path.relative_to(full / 'coco').as_posix()}"] = ["404"]
    with pytest.raises(UserError, match=r"photos cannot be had, such as .*answered 404"):
        coco.fetch(node("coco", tmp_path), session)


def test_a_manifest_has_its_own_photos_fetched_without_annotations(
    full: Path, site: Site, session: Session, tmp_path: Path
) -> None:
    manifest = tmp_path / "coco.json"
    write_manifest(Coco(**node("coco", full / "coco", seed=3)).manifest, manifest)
    given = {"manifest": str(manifest), "seed": 0}
    coco.fetch(node("coco", tmp_path / "coco", **given), session)
    assert chosen("coco", tmp_path / "coco", **given) == chosen("coco", full / "coco", seed=3)
    assert site.count(ARCHIVE) == 0
    stated = json.loads(manifest.read_text())
    stated["images"][0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(stated))
    with pytest.raises(UserError, match=r"its sha256 is .*, not 0000.* as published, twice"):
        coco.fetch(node("coco", tmp_path / "again", **given), session)
    stated["images"][0]["file"] = "../../evil.jpg"
    manifest.write_text(json.dumps(stated))
    with pytest.raises(UserError, match=r"manifest: the path leaves the dataset's folder"):
        coco.fetch(node("coco", tmp_path / "again", **given), session)


def test_a_photo_that_decides_how_boxes_are_read_comes_too(
    full: Path, site: Site, session: Session, tmp_path: Path
) -> None:
    turned = full / "turned"
    write_coco(Drawn(), turned, address=f"{site.address}turned/")
    taken = [each.file for each in chosen("coco", turned) if each.concept == "red"]
    red = [f"train2017/{number:012}.jpg" for number in range(4)]
    decides = next(file for file in red if file not in taken)
    path = turned / "annotations" / "instances_train2017.json"
    stated = json.loads(path.read_text())
    for file, box in ((decides, [10, 50, 8, 10]), (taken[0], [10, 12, 20, 8])):
        exif = Image.Exif()
        exif[0x0112] = 6  # 64 x 48 pixels are stored, and 48 x 64 shown
        Image.open(turned / file).save(turned / file, exif=exif)
        stated["annotations"][red.index(file)]["bbox"] = box
    path.write_text(json.dumps(stated))
    shutil.copytree(turned / "annotations", tmp_path / "annotations")
    coco.fetch(node("coco", tmp_path), session)
    assert chosen("coco", tmp_path) == chosen("coco", turned)
    assert (tmp_path / decides).exists()
    (tmp_path / decides).unlink()
    assert chosen("coco", tmp_path) != chosen("coco", turned)


def test_a_photo_that_was_changed_since_is_refused(
    full: Path, session: Session, tmp_path: Path
) -> None:
    coco.fetch(node("coco", tmp_path), session)
    one, other = chosen("coco", tmp_path)[:2]
    shutil.copyfile(full / "coco" / "train2017" / "000000000011.jpg", tmp_path / one.file)
    with pytest.raises(UserError, match=r"was changed since it was fetched"):
        coco.fetch(node("coco", tmp_path), session)
    (tmp_path / one.file).unlink()
    coco.fetch(node("coco", tmp_path), session)
    assert chosen("coco", tmp_path) == chosen("coco", full / "coco")
    assert other.file


def test_a_copy_of_imagenet_that_is_not_there_is_named(session: Session, tmp_path: Path) -> None:
    nowhere = replace(session.settings.imagenet, copy=tmp_path / "nowhere")
    elsewhere = replace(session, settings=replace(session.settings, imagenet=nowhere))
    with pytest.raises(UserError, match=r"fetch.imagenet.copy=.*nowhere: there is no such folder"):
        imagenet.fetch(node("imagenet", tmp_path), elsewhere)


def test_archives_that_are_damaged_or_others_are_refused(
    full: Path, session: Session, tmp_path: Path
) -> None:
    archive = tmp_path / "voc.tar"
    archive.write_bytes((full / "voc.tar").read_bytes()[:50_000])
    with pytest.raises(UserError, match=r"voc.tar is not the archive that is published: its md5"):
        pascal.fetch(node("pascal", tmp_path), session)
    unknown = replace(session.settings.pascal, md5=None)
    any_archive = replace(session, settings=replace(session.settings, pascal=unknown))
    archive.write_bytes(b"no archive" * 1000)
    with pytest.raises(UserError, match=r"voc.tar is damaged, or no zip or tar.*Delete it"):
        pascal.fetch(node("pascal", tmp_path), any_archive)
    with tarfile.open(archive, "w") as tarred:
        tarred.add(full / "tree.json", "tree.json")
    with pytest.raises(UserError, match=r"holds no folder VOC2012"):
        pascal.fetch(node("pascal", tmp_path), any_archive)
    shutil.copyfile(full / "voc.tar", archive)
    pascal.fetch(node("pascal", tmp_path), session)
    assert chosen("pascal", tmp_path) == chosen("pascal", full / "pascal")
    assert archive.exists()  # whoever put it there may need it


def test_an_archive_is_known_to_be_fetched_as_soon_as_it_is_there(
    site: Site, session: Session, tmp_path: Path
) -> None:
    with alone_in(tmp_path) as record:
        item = Item(f"{site.address}voc.tar", tmp_path / "voc.tar", 1 << 20)
        assert session.archive("drawn", item, record)
        assert "voc.tar" in Record(tmp_path).files  # so that it is deleted after a kill, too


def test_one_process_at_a_time_fetches_into_a_folder(session: Session, tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(UserError, match=r"another process fetches into"):
        coco.fetch(node("coco", tmp_path), session)


def test_what_would_be_fetched_is_only_said(site: Site, session: Session, tmp_path: Path) -> None:
    dry = replace(session, settings=replace(session.settings, dry_run=True))
    for layout in ("coco", "pascal"):
        FETCH[layout](node(layout, tmp_path / layout), dry)
    assert f"drawn: 1 archive, {site.address}{ARCHIVE}, 0.0 MB, to" in said(dry)
    assert not photos_in(tmp_path) and not list(tmp_path.rglob("*.zip"))
    assert {method for method, _, _ in site.asked} == {"HEAD"}


def test_the_action_fetches_says_so_and_checks(full: Path, site: Site, tmp_path: Path) -> None:
    groups = tmp_path / "groups" / "dataset"
    groups.mkdir(parents=True)
    drawn = {"_target_": "vwtransfer.datasets.coco.Coco", **node("coco", Path("data/drawn"))}
    (groups / "drawn.yaml").write_text(f"# @package dataset.drawn\n{json.dumps(drawn)}\n")
    command = [
        "--config-dir=groups",
        "action=fetch",
        "fetch.parts=[datasets]",
        "dataset=drawn",
        f"fetch.mirrors=[[{PUBLISHED},{site.address}coco/]]",
        "fetch.coco.md5=null",
    ]
    finished = vwtransfer(tmp_path, *command)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[0].startswith(f"drawn: 1 archive, {site.address}{ARCHIVE}, 0.0 MB, to data/drawn")
    assert any(line.startswith("drawn: 9 photos, 0.0 MB, to data/drawn") for line in lines)
    assert any(line.startswith("drawn: photos: 9/9 in ") for line in lines)
    assert (
        lines[-1] == "dataset.drawn  ok      3 concepts, 6 training and 3 held-out images, 9 boxes"
    )
    assert not (tmp_path / "outputs").exists()

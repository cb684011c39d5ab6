"""ImageNet comes out of the hub's dataset, here from a hub on loopback: the chosen photos alone."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from command_line import vwtransfer
from drawn import CONCEPTS, WNIDS, Drawn, wanted
from served import Site, as_hub, served
from vwtransfer.config.composition import compose
from vwtransfer.config.fetching import Archive, ImageNetBoxes
from vwtransfer.datasets.export import write_imagenet
from vwtransfer.datasets.imagenet import ImageNet
from vwtransfer.datasets.manifest import Photo, write_manifest
from vwtransfer.errors import UserError
from vwtransfer.fetch import imagenet
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.hub_table import HubTable
from vwtransfer.fetch.session import Session
from vwtransfer.progress import Stages

REPO = "acme/imagenet"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATA = f"datasets/{REPO}/resolve/{COMMIT}/data"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full copy, and a hub that has it as the published dataset is: in rows, without boxes."""
    root = tmp_path_factory.mktemp("full")
    write_imagenet(Drawn(), root, WNIDS)
    photos = sorted((root / "ILSVRC" / "Data").rglob("*.JPEG"))
    wnids = dict(
        line.split()[0].split(",")
        for line in (root / "LOC_val_solution.csv").read_text().split("\n")[1:-1]
    )
    tree = []
    for split, published in (("train", "train"), ("val", "validation")):
        own = [path for path in photos if f"/{split}/" in path.as_posix()][::-1]
        rows = [
            {"bytes": path.read_bytes(), "path": f"{path.stem}_{wnid}.JPEG"}
            for path in own
            for wnid in [wnids.get(path.stem, path.parent.name)]
        ]
        rows.append({"bytes": b"of no class that is wanted", "path": "n09999999_1_n09999999.JPEG"})
        labels = list(range(len(rows)))
        for i in range(2):
            file = f"{published}-0000{i}-of-00002.parquet"
            path = root / DATA / file
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.table({"image": rows[i::2], "label": labels[i::2]})
            pq.write_table(table, path, row_group_size=2)
            tree.append(
                {"type": "file", "path": f"data/{file}", "size": path.stat().st_size, "oid": "0"}
            )
    (root / "tree.json").write_text(json.dumps(tree))
    folder = {"type": "directory", "path": "data", "oid": "0"}
    (root / "folders.json").write_text(json.dumps([folder]))
    (root / "info.json").write_text(json.dumps({"id": REPO, "sha": COMMIT}))
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tgz", "w:gz") as tarred:
            tarred.add(root / "ILSVRC" / "Annotations" / "CLS-LOC" / split, split)
    return root


@pytest.fixture
def hub(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with served(full) as site:
        api = f"api/datasets/{REPO}"
        site.pages = {
            **dict.fromkeys((f"{api}/auth-check", f"{api}/revision/{COMMIT}"), full / "info.json"),
            f"{api}/revision/main": full / "info.json",
            f"{api}/tree/{COMMIT}": full / "folders.json",
            f"{api}/tree/{COMMIT}/data": full / "tree.json",
        }
        as_hub(site, monkeypatch, tmp_path / "cache")
        yield site


@pytest.fixture
def session(hub: Site) -> Iterator[Session]:
    found = compose().fetch
    assert found is not None
    boxes = {each: Archive(f"{hub.address}{each}.tgz", None) for each in ("train", "val")}
    settings = replace(
        found,
        imagenet=replace(
            found.imagenet,
            hub=replace(found.imagenet.hub, repo=REPO),
            boxes=ImageNetBoxes(**boxes),
        ),
    )
    console = Console(file=io.StringIO(), width=200)
    with Downloads(settings) as downloads:
        yield Session(settings, downloads, Stages(None, console), console)


def node(root: Path, **other: Any) -> dict[str, Any]:
    keys = {"layout": "CLS-LOC", "wnids": WNIDS, "manifest": None}
    return {"root": str(root), **keys, **wanted(training=2, held_out=1), **other}


def chosen(root: Path, **other: Any) -> tuple[Photo, ...]:
    return ImageNet(**node(root, **other)).manifest.images


def said(session: Session) -> str:
    assert isinstance(session.console.file, io.StringIO)
    return session.console.file.getvalue()


def test_what_comes_is_what_a_full_copy_gives_by_reading_parts_of_files(
    full: Path, hub: Site, session: Session, tmp_path: Path
) -> None:
    root = tmp_path / "imagenet"
    hub.faults[f"{DATA}/train-00001-of-00002.parquet"] = ["cut"]
    imagenet.fetch(node(root), session)
    assert chosen(root) == chosen(full)
    assert sum(path.suffix == ".JPEG" for path in root.rglob("*")) == 3 * len(CONCEPTS)
    of_it = rf"datasets/{REPO}@{COMMIT}, (about )?0.0 MB, to {root}"
    assert len(re.findall(rf"drawn: the names in 2 files of {of_it}", said(session))) == 2
    assert re.search(rf"drawn: 9 photos in \d row groups of {of_it}", said(session))
    recorded = json.loads((root / "fetched.json").read_text())["files"]
    assert {each.sha256 for each in chosen(full)} == {each["sha256"] for each in recorded.values()}
    parts = [part for method, path, part in hub.asked if path.startswith(DATA) and method == "GET"]
    assert parts and all(parts)  # no file was asked for whole
    hub.asked.clear()
    imagenet.fetch(node(root), session)
    assert not hub.asked
    (root / chosen_file(full)).unlink()
    imagenet.fetch(node(root), session)
    assert chosen(root) == chosen(full)
    names = sum(path.startswith(DATA) for _, path, _ in hub.asked)
    assert names <= 3  # its footer and one row group: all names are known
    manifest = tmp_path / "other.json"
    write_manifest(ImageNet(**node(full, seed=3)).manifest, manifest)
    given = {"manifest": str(manifest)}
    imagenet.fetch(node(tmp_path / "listed", **given), session)
    assert chosen(tmp_path / "listed", **given) == chosen(full, seed=3)


def chosen_file(full: Path) -> str:
    return f"ILSVRC/{chosen(full)[0].file}"


def test_a_class_that_comes_later_leaves_the_former_ones_as_they_are(
    full: Path, session: Session, tmp_path: Path
) -> None:
    for concept in ("red", "blue", "red"):
        alone = {
            "concepts": {concept: CONCEPTS[concept]},
            "anchors": ["cat"],
            "wnids": {concept: WNIDS[concept]},
        }
        imagenet.fetch(node(tmp_path, **alone), session)
        assert chosen(tmp_path, **alone) == chosen(full, **alone)


def test_once_one_file_fails_nothing_more_of_the_others_is_read(hub: Site) -> None:
    table = HubTable("fetch.imagenet.hub.repo", REPO, "main", "", parallel=2)
    refused, other = table.shards("data/train-*.parquet")
    most, count = 500, 0

    def read(shard: str) -> None:
        nonlocal count
        if shard == refused:
            raise UserError("there is no room")
        with table.opened(shard) as file:
            for _ in range(most):
                table.group(file, 0, "image.path")
                count += 1

    with pytest.raises(UserError, match="no room"):
        list(table.each(read, [other, refused]))
    assert count < most
    with table.opened(other) as file:
        assert len(table.group(file, 0, "image.path")) == 2


def test_the_action_says_what_comes_goes_on_and_checks(
    full: Path, hub: Site, tmp_path: Path
) -> None:
    groups = tmp_path / "groups" / "dataset"
    groups.mkdir(parents=True)
    target = "vwtransfer.datasets.imagenet.ImageNet"
    drawn = {"_target_": target, **node(Path("data/drawn"))}
    (groups / "drawn.yaml").write_text(f"# @package dataset.drawn\n{json.dumps(drawn)}\n")
    command = [
        "--config-dir=groups",
        "action=fetch",
        "fetch.parts=[datasets]",
        "dataset=drawn",
        f"fetch.imagenet.hub.repo={REPO}",
    ]
    for split in ("train", "val"):
        command.append(f"fetch.imagenet.boxes.{split}.address={hub.address}{split}.tgz")
        command.append(f"fetch.imagenet.boxes.{split}.md5=null")
    archives = [
        f"drawn: 1 archive, {hub.address}{split}.tgz, 0.0 MB, to data/drawn"
        for split in ("train", "val")
    ]
    said = vwtransfer(tmp_path, *command, "fetch.dry_run=true")
    assert (said.returncode, said.stdout.splitlines()) == (0, archives)
    hub.headers["X-Error-Code"] = "GatedRepo"
    hub.faults[f"api/datasets/{REPO}/auth-check"] = ["401"]
    without_login = vwtransfer(tmp_path, *command)
    assert without_login.returncode == 2
    assert f"datasets/{REPO} and log in with: hf auth login." in without_login.stderr
    assert not [*tmp_path.rglob("*.tgz"), *tmp_path.rglob("*.JPEG")]
    hub.headers.clear()
    hub.faults[f"{DATA}/train-00001-of-00002.parquet"] = ["404"]
    cut_short = vwtransfer(tmp_path, *command)
    assert cut_short.returncode == 2
    assert "What came is kept: the same command goes on." in cut_short.stderr
    hub.faults.clear()
    finished = vwtransfer(tmp_path, *command)
    assert finished.returncode == 0, finished.stderr
    of_it = f"datasets/{REPO}@{COMMIT}"
    checked = "dataset.drawn  ok      3 concepts, 6 training and 3 held-out images, 9 boxes"
    expected = [  # the first of the two files of names was read before
        rf"drawn: the names in 1 file of {of_it}, about 0.0 MB, to data/drawn/ILSVRC",
        r"drawn: names: 1/1 in \d+ s",
        rf"drawn: 9 photos in \d row groups of {of_it}, 0.0 MB, to data/drawn/ILSVRC",
        r"drawn: photos: 9/9 in \d+ s",
        checked,
    ]
    assert re.fullmatch("\n".join(expected), finished.stdout.strip())
    assert chosen(tmp_path / "data" / "drawn") == chosen(full)
    assert not list(tmp_path.rglob("*.tgz"))
    hub.asked.clear()
    again = vwtransfer(tmp_path, *command)
    assert (again.returncode, again.stdout.splitlines()) == (0, [checked])
    assert not hub.asked


def test_who_may_not_read_it_is_told_what_to_do(
    hub: Site, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, **hub_keys: Any) -> None:
        source = session.settings.imagenet
        other = replace(source, hub=replace(source.hub, **hub_keys))
        settings = replace(session.settings, imagenet=other)
        with pytest.raises(UserError, match=match):
            imagenet.fetch(node(tmp_path), replace(session, settings=settings))

    refused(r"has no files data/none-\*", val="data/none-*")
    hub.headers["X-Error-Code"] = "RevisionNotFound"
    refused(f"{REPO}: has no revision v2", revision="v2")
    hub.headers["X-Error-Code"] = "RepoNotFound"
    hub.faults[f"api/datasets/{REPO}/auth-check"] = ["401", "403", "500"]
    refused("no such dataset that you may see.*hf auth login")
    hub.headers["X-Error-Code"] = "GatedRepo"
    refused(
        f"Accept the terms at https.*{REPO} and log in with: hf auth login.*imagenet.copy=FOLDER"
    )
    del hub.headers["X-Error-Code"]
    refused("cannot be read .*500")
    refused("not to be had without an account.*fetch.imagenet.copy=FOLDER", repo=None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused("HF_HUB_OFFLINE is set.*fetch.imagenet.copy=FOLDER")
    assert not list(tmp_path.rglob("*.JPEG"))

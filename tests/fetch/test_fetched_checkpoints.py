"""Checkpoints come by the hub's own client, here from a hub on loopback."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from served import Site, as_hub, served
from vwtransfer.config import Config
from vwtransfer.config.composition import compose, package_folder
from vwtransfer.errors import UserError
from vwtransfer.fetch import checkpoints
from vwtransfer.fetch.checkpoints import needed
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.session import Session
from vwtransfer.models.checkpoints import weights
from vwtransfer.progress import Stages

WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights" / "detection"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "acme/tiny-owl"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A hub with one repository, of the tiny detector and a weight file that nobody reads."""
    root = tmp_path / "hub"
    resolved = root / NAME / "resolve" / COMMIT
    resolved.mkdir(parents=True)
    for path in WEIGHTS.iterdir():
        (resolved / path.name).symlink_to(path)
    (resolved / "pytorch_model.bin").write_bytes(b"unread")
    files = [{"rfilename": each.name, "size": each.stat().st_size} for each in resolved.iterdir()]
    info = root / "info.json"
    info.write_text(json.dumps({"id": NAME, "sha": COMMIT, "siblings": files}))
    tree = root / "tree.json"
    listed = [{"path": each["rfilename"], "size": each["size"], "oid": "0"} for each in files]
    tree.write_text(json.dumps([{"type": "file", **each} for each in listed]))
    with served(root) as site:
        site.headers = {"X-Repo-Commit": COMMIT}
        site.pages = {
            f"api/models/{NAME}{path}": info
            for path in ("", "/revision/main", f"/revision/{COMMIT}")
        } | {f"api/models/{NAME}/tree/{COMMIT}": tree}
        as_hub(site, monkeypatch, tmp_path / "cache")
        yield site


def fetched(config: Config, **other: object) -> str:
    assert config.fetch is not None
    settings = replace(config.fetch, **other)  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), width=200)
    with Downloads(settings) as downloads:
        checkpoints.fetch(config, Session(settings, downloads, Stages(None, console), console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_files_that_loading_reads_come_and_are_found(hub: Site, tmp_path: Path) -> None:
    config = compose([f"model.detection.checkpoint={NAME}"])
    size = sum(path.stat().st_size for path in WEIGHTS.iterdir()) / 1e6
    count = len(list(WEIGHTS.iterdir()))
    expected = f"{NAME}: {count} files, {size:.1f} MB, to {tmp_path / 'cache'}"
    assert expected in fetched(config, dry_run=True)
    assert not (tmp_path / "cache").exists()
    assert expected in fetched(config)
    asked = {path for method, path, _ in hub.asked if method == "GET"}
    assert any(path.endswith("/model.safetensors") for path in asked)
    assert not any(path.endswith(".bin") for path in asked)
    assert "checkpoints: all are here" in fetched(config)


def test_what_the_hub_does_not_hand_out_is_said(hub: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.headers["X-Error-Code"] = "RepoNotFound"
    missing = compose(["model.detection.checkpoint=acme/nothing"])
    with pytest.raises(UserError, match=r"checkpoint=acme/nothing: .*hf auth login"):
        fetched(missing)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set, and 1 checkpoints are not here"):
        fetched(missing)


def test_weights_are_chosen_whole_or_in_shards() -> None:
    files = (("config.json",), weights("unet/model") + weights("unet/old"))
    small = ["config.json", "unet/merges.txt"]
    whole = ["unet/model.bin", "unet/model.safetensors", "unet/model.fp16.safetensors"]
    assert needed(files, [*small, *whole]) == [*small, "unet/model.safetensors"]
    shards = [f"unet/model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/model.safetensors.index.json"
    assert needed(files, [*small, *shards, index, "unet/model.bin"]) == sorted(
        [*small, *shards, index]
    )

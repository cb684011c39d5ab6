"""Checkpoints that cannot be used are refused in one line that names them."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from composing import compose
from vwtransfer.config.composition import package_folder
from vwtransfer.errors import UserError
from vwtransfer.models.checkpoints import FILES, Checkpoint, MissingCheckpointError
from vwtransfer.models.suite import build

WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"
# a model -> the folder of its weights
TINY = {"tiny_sd": "generation", "tiny_owlv2": "detection", "tiny_clip": "classification"}


def load(name: str, folder: Path) -> None:
    """Loads a model from `folder`, all of it."""
    suite = build(compose([f"model.{name}.checkpoint={folder}"]), torch.device("cpu"))
    _ = suite.models[name].text
    _ = getattr(suite.models[name], "pipeline", None)


def copy(name: str, to: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS / TINY[name], to / name))


def weight_file(folder: Path) -> Path:
    """The largest weight file."""
    return max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("name", TINY)
def test_a_missing_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*no such folder"):
        load(name, tmp_path / "none")


@pytest.mark.parametrize("name", TINY)
def test_a_missing_weight_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = copy(name, tmp_path)
    weight_file(folder).unlink()
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*does not load"):
        load(name, folder)


@pytest.mark.parametrize("name", TINY)
def test_a_cut_off_weight_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = copy(name, tmp_path)
    file = weight_file(folder)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*cut off or damaged"):
        load(name, folder)


@pytest.mark.parametrize(
    ("name", "other"),
    [("tiny_owlv2", "judge"), ("tiny_sd", "judge"), ("tiny_owlv2", "generation")],
)
def test_a_checkpoint_of_another_kind_is_refused(name: str, other: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*does not load"):
        load(name, WEIGHTS / other)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = copy("tiny_owlv2", tmp_path)
    shutil.copy(weight_file(WEIGHTS / "judge"), weight_file(folder))
    with pytest.raises(UserError, match="weights of another architecture"):
        load("tiny_owlv2", folder)


class _Silent(BaseHTTPRequestHandler):
    """A hub that holds nothing, and says so."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *given: object) -> None:
        """Not on the tests' terminal."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = HTTPServer(("127.0.0.1", 0), _Silent)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_that_answers_is_asked(hub: HTTPServer) -> None:
    with Checkpoint("model.mine", "nobody/nothing", None, FILES).loading():
        asked = True
    assert asked


def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(hub: HTTPServer) -> None:
    hub.shutdown()
    hub.server_close()
    said = "is not on this machine, and http://127.0.0.1:[0-9]+ does not answer. Fetch with: hf"
    with (
        pytest.raises(MissingCheckpointError, match=said),
        Checkpoint("model.mine", "nobody/nothing", None, FILES).loading(),
    ):
        pytest.fail("its client would go on asking for minutes")

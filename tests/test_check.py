"""action=check: what it looks at, and what makes it fail."""

import shutil
from pathlib import Path

import pytest

from vwtransfer.actions.check import FAILED, NOTE, OK, Finding, check, findings
from vwtransfer.config.composition import compose, package_folder
from vwtransfer.errors import UserError

WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"


def found(*overrides: str) -> dict[str, Finding]:
    return {each.what: each for each in findings(compose(overrides))}


def test_all_is_well_in_the_tiny_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(compose([f"outputs={tmp_path}"]))
    out = capsys.readouterr().out
    for what in ("model.generation", "model.judge", "vocabulary", "anchors", "memory", "disk"):
        assert what in out
    assert "10 concepts, 80 training and 200 held-out" in out
    assert not list(tmp_path.iterdir())


def test_a_checker_that_is_off_is_named_and_one_without_weights_fails() -> None:
    off = found()["model.safety"]
    assert off.state == NOTE
    assert "not checked" in off.detail
    assert found("model/safety=compvis")["model.safety"].state == FAILED


def test_missing_weights_are_named_with_the_command_that_fetches_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    detail = found("model/detection=owlv2_base", "model.detection.revision=v1")["model.detection"]
    assert detail.state == FAILED
    assert "config.json" in detail.detail
    repository = "google/owlv2-base-patch16-ensemble"
    assert f"hf download {repository} --revision v1 config.json model.saf" in detail.detail


def test_a_file_that_a_folder_lacks_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "detection"
    shutil.copytree(WEIGHTS / "detection", folder)
    (folder / "model.safetensors").unlink()
    failed = found(f"model.detection.checkpoint={folder}")
    assert "this folder lacks model.safetensors" in failed["model.detection"].detail
    assert failed["model.generation"].state == OK


def test_an_anchor_of_several_tokens_and_a_bad_device_fail() -> None:
    anchors = found("dataset.tiny_shapes.anchors=[reddish]")["anchors"]
    assert anchors.state == FAILED
    assert found("device=cuda:99")["device"].state == FAILED


def test_check_fails_as_a_whole_and_says_what_failed() -> None:
    with pytest.raises(UserError, match=r"1 of \d+ failed: anchors"):
        check(compose(["dataset.tiny_shapes.anchors=[reddish]"]))

"""action=check: what it looks at, and what makes it fail."""

import shutil
from pathlib import Path

import pytest
import torch

from composing import compose
from vwtransfer.actions.check import FAILED, NOTE, OK, Finding, check, findings
from vwtransfer.config.composition import package_folder
from vwtransfer.errors import UserError
from vwtransfer.models.devices import use_threads

WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"


def found(*overrides: str) -> dict[str, Finding]:
    return {each.what: each for each in findings(compose(overrides))}


def test_all_is_well_in_the_tiny_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(compose([f"outputs={tmp_path}"]))
    out = capsys.readouterr().out
    for what in ("model.tiny_sd", "model.judge", "tasks", "prompts", "memory", "disk"):
        assert what in out
    assert "support tiny_owlv2 to tiny_clip" in out
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
    detail = found("model/detection=owlv2_base", "model.detection.revision=v1")["model.owlv2_base"]
    assert detail.state == FAILED
    assert "config.json" in detail.detail
    repository = "google/owlv2-base-patch16-ensemble"
    assert f"hf download {repository} --revision v1 config.json model.saf" in detail.detail


def test_a_file_that_a_folder_lacks_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "detection"
    shutil.copytree(WEIGHTS / "detection", folder)
    (folder / "model.safetensors").unlink()
    failed = found(f"model.detection.checkpoint={folder}")
    assert "this folder lacks model.safetensors" in failed["model.tiny_owlv2"].detail
    assert failed["model.tiny_sd"].state == OK
    assert "support tiny_sd to tiny_clip" in failed
    assert "support tiny_sd to tiny_owlv2" not in failed


def test_an_anchor_of_several_tokens_is_told_and_fails_where_words_have_a_ball() -> None:
    reddish = "dataset.tiny_shapes.anchors=[reddish]"
    free = found(reddish)["anchors tiny_clip"]
    assert free.state == NOTE
    assert "1 of 1 are several tokens, and words start at their mean: reddish (" in free.detail
    bound = found(reddish, "delta=0.5")["anchors tiny_clip"]
    assert bound.state == FAILED
    assert "not a single token of model.tiny_clip" in bound.detail
    with pytest.raises(UserError, match=r"1 of \d+ failed: anchors tiny_clip"):
        check(compose([reddish, "delta=0.5", "task=classification", "direction=none"]))


def test_a_support_that_no_map_can_be_fitted_on_fails(tmp_path: Path) -> None:
    few = tmp_path / "few.txt"
    few.write_text("red</w>\nblue</w>\n")
    support = found(f"model.tiny_clip.support={few}")["support tiny_owlv2 to tiny_clip"]
    assert support.state == FAILED
    assert "share 2 tokens" in support.detail


def test_the_threads_that_are_asked_for_are_told() -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            device = next(findings(compose([f"threads={count}", "device=cpu"])))
            assert f", {count} threads;" in device.detail
    finally:
        use_threads(threads)


def test_a_device_that_is_not_there_fails() -> None:
    assert found("device=cuda:99")["device"].state == FAILED

"""wandb's own variables count where the config leaves the default."""

from dataclasses import replace
from pathlib import Path

import pytest

from composing import compose
from vwtransfer import tracking
from vwtransfer.config import Config
from vwtransfer.config.composition import composed
from vwtransfer.config.validation import validated
from vwtransfer.study.callbacks import Callbacks
from vwtransfer.tracking.outbox import Outbox
from vwtransfer.words.store import WordStore


def test_the_project_is_that_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed([])
    for value, project in (("mine", "mine"), ("", "vwtransfer")):
        monkeypatch.setenv("WANDB_PROJECT", value)
        assert validated(config).wandb.project == project
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert compose(["wandb.project=ours"]).wandb.project == "ours"


@pytest.fixture(scope="module")
def plain() -> Config:
    return compose([])


@pytest.mark.parametrize(
    ("name", "value"),
    [("WANDB_DISABLED", "true"), ("WANDB_DISABLED", "1"), ("WANDB_MODE", "disabled")],
)
def test_what_is_disabled_records_nothing(
    plain: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    config = replace(plain, outputs=tmp_path)
    with tracking.opened(config, [], WordStore(config.folder / "words")) as tracker:
        assert isinstance(tracker, Callbacks)
    assert not config.folder.exists()


def test_an_empty_variable_is_as_one_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    outbox = Outbox(tmp_path, 30.0)
    outbox.send(lambda: [("start", str(tmp_path), "offline", 0.0, {}, {})])
    outbox.close(0)
    assert (outbox.answer["lost"], outbox.answer["mode"]) == (0, "offline")

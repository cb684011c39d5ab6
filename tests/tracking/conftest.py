"""A study that reports, for tests that only read."""

import pytest

from composing import compose
from offline import SMALL, Recorded, recorded
from vwtransfer.actions.run import run as run_study
from vwtransfer.config import Config


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of six words, in all three models."""
    outputs = tmp_path_factory.mktemp("outputs")
    return compose(
        [*SMALL, "concept=red_striped_star", "wandb.log_per_word=true", f"outputs={outputs}"]
    )


@pytest.fixture(scope="session")
def run(config: Config) -> Recorded:
    """Its one run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        run_study(config)
    (found,) = recorded(config.folder)
    return found

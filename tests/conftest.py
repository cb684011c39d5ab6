"""What holds for all tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# a study reports to wandb unless it is told not to; tests/tracking tells it to
os.environ.setdefault("WANDB_MODE", "disabled")
# nothing is asked of the network: where there is none, each question takes half a minute
os.environ.setdefault("HF_HUB_OFFLINE", "1")

OF_A_MARKER = {"published": "published", "browser": "browser", "test_compiled.py": "compiled"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Imports nothing for tests that are not run: the libraries of some take seconds."""
    marker = OF_A_MARKER.get(collection_path.name)
    if marker and f"not {marker}" in config.getoption("markexpr"):
        return True
    return None


def pytest_collection_finish() -> None:
    """Has the garbage collector pass over what imports leave for good, as `main` has."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_sessionfinish() -> None:
    """Lets go of it all, or libraries complain of what is left at the end."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models, and what they see in images, for all tests of a process."""
    import composing
    import loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(composing.CACHE, str(tmp_path_factory.mktemp("cache")))
        composing.parse_once(patch)
        loaded.share(patch)
        yield

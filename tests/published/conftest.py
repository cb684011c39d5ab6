"""The published layouts at reduced depth, written once for all tests of this folder."""

import os
from pathlib import Path

import layouts
import pytest
from filelock import FileLock
from published_models import JUDGE, REPOSITORIES, SAFETY


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "checkpoints"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = shared / "partial"
            for name in [*(repository for _, repository in REPOSITORIES.values()), JUDGE, SAFETY]:
                layouts.write(name, partial, shallow=True)
            partial.rename(folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one model and precision in a row, so that it is loaded once."""
    items.sort(key=_model)


def _model(item: pytest.Item) -> tuple[str, str]:
    if Path(__file__).parent not in item.path.parents:
        return "", ""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("model", "sd21"), parameters.get("dtype", "float32")

"""The published layouts at reduced depth, written once for all tests of this folder."""

from pathlib import Path

import layouts
import pytest
from published_models import JUDGE, REPOSITORIES, SAFETY


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    for name in [*(repository for _, repository in REPOSITORIES.values()), JUDGE, SAFETY]:
        layouts.write(name, folder, shallow=True)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one model and precision in a row, so that it is loaded once."""
    items.sort(key=_model)


def _model(item: pytest.Item) -> tuple[str, str]:
    if Path(__file__).parent not in item.path.parents:
        return "", ""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("model", "sd21"), parameters.get("dtype", "float32")

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

"""A SLURM cluster for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm import running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of one that is up."""
    with running(tmp_path_factory.mktemp("cluster")) as folder:
        yield folder

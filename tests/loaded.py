"""The tiny world's models, loaded once a process: they are frozen, and know nothing of a study.

Most tests need some and test something else. One that tests how a model is loaded, or changes one,
has it built `apart`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vwtransfer.config.composition import package_folder
from vwtransfer.models import suite

_made: dict[str, Any] = {}
_apart: list[None] = []


def share(patch: pytest.MonkeyPatch) -> None:
    """From now on `suite.build` gives a model that it has made before once more."""
    build_part, weights = suite.build_part, package_folder("vwtransfer.tinyworld")

    def made_before(node: Any, key: str, **arguments: Any) -> Any:
        if _apart or not str(node.get("checkpoint")).startswith(weights):
            return build_part(node, key, **arguments)
        asked = json.dumps([node, key, arguments], sort_keys=True, default=repr)
        if asked not in _made:
            _made[asked] = build_part(node, key, **arguments)
        return _made[asked]

    patch.setattr(suite, "build_part", made_before)


@contextmanager
def apart() -> Iterator[None]:
    """What is built meanwhile is made anew, and given to nobody else."""
    _apart.append(None)
    try:
        yield
    finally:
        _apart.pop()

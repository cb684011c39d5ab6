"""The tiny world's models, loaded once a process: they are frozen, and know nothing of a study.

Most tests need some and test something else. One that tests how a model is loaded, or changes one,
calls `forget` first.
"""

import json
from typing import Any

import pytest

from vwtransfer.config.composition import package_folder
from vwtransfer.models import suite

_made: dict[str, Any] = {}


def share(patch: pytest.MonkeyPatch) -> None:
    """From now on `suite.build` gives a model that it has made before once more."""
    build_part, weights = suite.build_part, package_folder("vwtransfer.tinyworld")

    def made_before(node: Any, key: str, **arguments: Any) -> Any:
        if not str(node.get("checkpoint")).startswith(weights):
            return build_part(node, key, **arguments)
        asked = json.dumps([node, key, arguments], sort_keys=True, default=repr)
        if asked not in _made:
            _made[asked] = build_part(node, key, **arguments)
        return _made[asked]

    patch.setattr(suite, "build_part", made_before)


def forget() -> None:
    """Models that are asked for from now on are made anew."""
    _made.clear()

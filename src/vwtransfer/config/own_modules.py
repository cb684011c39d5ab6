"""The modules of a person's own classes, which may lie in the current folder.

Libraries look for others that may be there, such as numexpr, and would import a file of that name
from any folder on the path. So the current one is on it only where it has a class of the config.
"""

import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vwtransfer.config import Config


def found_module(name: str) -> ModuleSpec | None:
    """Where a top module is, the current folder looked into last; it is not imported."""
    return find_spec(name) or PathFinder.find_spec(name, [str(Path.cwd())])


def use_own_modules(config: Config) -> None:
    """Puts the current folder last on Python's path if it has a class that a person's config names.

    Not for a saved config, which may be a stranger's.
    """
    here = str(Path.cwd())
    tops = {target.partition(".")[0] for target in _targets(config.composed)}
    if here not in sys.path and any(not find_spec(top) and found_module(top) for top in tops):
        sys.path.append(here)


def _targets(values: Any) -> Iterator[str]:
    """All classes that are named somewhere in a config."""
    if isinstance(values, Mapping):
        for key, each in values.items():
            if key in ("_target_", "measured_by") and isinstance(each, str):
                yield each
            yield from _targets(each)
    elif isinstance(values, list):
        for each in values:
            yield from _targets(each)

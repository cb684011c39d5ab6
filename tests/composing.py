"""`compose` for tests that need a config and do not test how one is composed.

Hydra takes a quarter of a second to put the same groups together again. Here that is done once a
process for each choice of groups, and keys are set on a copy, as Hydra sets them. What models see
in images is kept for all tests, under the hash of all that decides it.
"""

import os
import pickle
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from vwtransfer.config import Config
from vwtransfer.config.command_line import as_typed
from vwtransfer.config.composition import composed, config_folder
from vwtransfer.config.validation import validated

CACHE = "VWTRANSFER_TESTS_CACHE"
"""The variable that names the folder; set by conftest.py."""


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config:
    """What `composition.compose` gives; the files of `config_dir` do not change meanwhile."""
    groups = tuple(each for each in overrides if _chooses_a_group(each))
    config = pickle.loads(_of_groups(groups, config_dir))
    values = as_typed([each for each in overrides if each not in groups], config_folder())
    if CACHE in os.environ:
        OmegaConf.update(config, "cache.folder", os.environ[CACHE])
    for value in _parser().parse_overrides(values):
        OmegaConf.update(config, value.key_or_group, value.value(), force_add=value.is_add())
    return validated(config)


def parse_once(patch: pytest.MonkeyPatch) -> None:
    """From now on Hydra parses each file of conf/ once a process, which is a third of composing."""
    Plugins.instance()  # registers what reads files
    kind: Any = SourcesRegistry.instance().resolve("file")
    load = kind.load_config
    parsed: dict[str, bytes] = {}

    def load_config(source: Any, config_path: str) -> Any:
        if source.path != str(config_folder()):
            return load(source, config_path)
        if config_path not in parsed:
            parsed[config_path] = pickle.dumps(load(source, config_path))
        return pickle.loads(parsed[config_path])

    patch.setattr(kind, "load_config", load_config)


def _chooses_a_group(override: str) -> bool:
    """Also what deletes something, which is left to Hydra."""
    group = override.partition("=")[0].lstrip("+").partition("@")[0]
    return group.startswith(("~", "hydra")) or (config_folder() / group).is_dir()


@cache
def _of_groups(overrides: tuple[str, ...], config_dir: Path | None) -> bytes:
    """Pickled: that is copied ten times as fast as the config."""
    return pickle.dumps(composed(overrides, config_dir))


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()

"""`compose` for tests that need a config and do not test how one is composed.

Hydra takes a quarter of a second to put the same groups together again. Here that is done once a
process for each choice of groups, and keys are set on a copy, as Hydra sets them.
"""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from vwtransfer.config import Config
from vwtransfer.config.command_line import as_typed
from vwtransfer.config.composition import composed, config_folder
from vwtransfer.config.validation import validated


def compose(overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config:
    """What `composition.compose` gives; the files of `config_dir` do not change meanwhile."""
    groups = tuple(each for each in overrides if _chooses_a_group(each))
    config = copy.deepcopy(_of_groups(groups, config_dir))
    values = as_typed([each for each in overrides if each not in groups], config_folder())
    for value in _parser().parse_overrides(values):
        OmegaConf.update(config, value.key_or_group, value.value(), force_add=value.is_add())
    return validated(config)


def _chooses_a_group(override: str) -> bool:
    """Also what deletes something, which is left to Hydra."""
    group = override.partition("=")[0].lstrip("+").partition("@")[0]
    return group.startswith(("~", "hydra")) or (config_folder() / group).is_dir()


@cache
def _of_groups(overrides: tuple[str, ...], config_dir: Path | None) -> DictConfig:
    return composed(overrides, config_dir)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()

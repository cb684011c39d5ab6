"""The models of a study, built from the config; weights are read when they are first used."""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import get_class

from vwtransfer.config import Config
from vwtransfer.config.models import SCHEMAS, Node, Training
from vwtransfer.config.schema import build as settings
from vwtransfer.errors import UserError
from vwtransfer.models import Model
from vwtransfer.models.cache import Cache
from vwtransfer.models.dino import Dino
from vwtransfer.models.judge import Judge
from vwtransfer.models.safety import SafetyChecker
from vwtransfer.models.vocabulary import check_single_token
from vwtransfer.words.cells import Cell


@dataclass(frozen=True)
class Suite:
    """The frozen models that words are trained in and mapped between.

    Attributes:
        models: by name.
        judge: says what a generation shows.
        safety: flags unsafe generations; None: not checked.
        dino: compares generations with photos; None: nothing does.
    """

    models: Mapping[str, Model]
    judge: Judge | None
    safety: SafetyChecker | None
    dino: Dino | None = None

    def of_task(self, task: str) -> list[str]:
        """The names of the models of a task."""
        return [name for name, model in self.models.items() if model.task == task]

    def check_anchors(self, cells: Iterable[Cell]) -> None:
        """Refuses an anchor that a text encoder of its model cannot take; reads no weights.

        Words in a delta ball need a single token in every encoder of their model: the ball's radius
        is the distance from one token to the next.

        Raises:
            UserError: names the anchor and the model.
        """
        asked = {(cell.model, cell.anchor) for cell in cells if math.isfinite(cell.delta)}
        for name, anchor in sorted(asked):
            check_single_token(anchor, name, self.models[name].vocabularies)


def cache_of(config: Config) -> Cache | None:
    """Where it is kept what models read, if it is."""
    cache = config.cache
    return None if cache.folder is None else Cache(cache.folder, int(cache.gigabytes * 1e9))


def build(config: Config, device: torch.device) -> Suite:
    """The models a config names.

    Raises:
        UserError: a `_target_` does not exist or does not take the keys it is given.
    """
    cache = cache_of(config)
    models = {
        name: build_part(node, f"model.{name}", device=device, cache=cache)
        for name, node in config.model.models.items()
    }
    beside = {
        role: None if node is None else build_part(node, f"model.{role}", device=device)
        for role in ("judge", "safety", "dino")
        for node in [getattr(config.model, role)]
    }
    return Suite(models, **beside)


def build_part(node: Node, key: str, **arguments: Any) -> Any:
    """The object that a config node with a `_target_` describes.

    A model of this package is given its keys as one value, `settings`; any other class each by its
    name, `training` as `config.models.Training`. Of `arguments` it is given those that it takes.

    Raises:
        UserError: there is no such class, or it does not take these keys.
    """
    values = {
        name: value for name, value in node.items() if name not in ("_target_", "measured_by")
    }
    kind = _class(node, key)
    if schema := SCHEMAS.get(node["_target_"]):
        values = {"settings": settings(schema, values, key)}
    elif isinstance(values.get("training"), Mapping):
        values["training"] = settings(Training, values["training"], f"{key}.training")
    asked = inspect.signature(kind).parameters
    values |= {name: value for name, value in arguments.items() if name in asked}
    try:
        inspect.signature(kind).bind(**values)
    except TypeError as error:
        raise UserError(f"{key}: {node['_target_']} {error}.") from error
    return kind(**values)


def _class(node: Node, key: str) -> Any:
    try:
        return get_class(node["_target_"])
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"{key}._target_={node['_target_']}: cannot be found ({error}).") from error

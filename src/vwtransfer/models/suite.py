"""The models of a study side by side: built from the config, checked against each other."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from torch import Tensor

from vwtransfer.config import Config, Node, Training
from vwtransfer.errors import UserError, nearest
from vwtransfer.models.cache import Cache
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.tasks import Task
from vwtransfer.words.cells import Cell


@dataclass(frozen=True)
class Suite:
    """The frozen models that words are trained in and carried between.

    Attributes:
        tasks: task -> its model, loaded when first used.
        support_file: the words that the least squares and the delta ball take into account, one
            token string a line; None for all shared tokens but the special ones.
    """

    tasks: Mapping[str, Task]
    support_file: Path | None

    @cached_property
    def support(self) -> list[str]:
        """Token strings of the support, the same for every pair of models.

        Raises:
            UserError: the file is missing or names a token that a model lacks.
        """
        vocabularies = {name: set(task.vocabulary.tokens) for name, task in self.tasks.items()}
        if self.support_file is None:
            first = next(iter(self.tasks.values())).vocabulary.tokens
            return [token for token in first if all(token in v for v in vocabularies.values())]
        try:
            tokens = self.support_file.read_text(encoding="utf-8").split()
        except OSError as error:
            raise UserError(f"model.support={self.support_file}: {error.strerror}") from error
        for name, vocabulary in vocabularies.items():
            lacking = [token for token in tokens if token not in vocabulary]
            if lacking:
                raise UserError(
                    f"model.support={self.support_file}: {lacking[0]!r} is not a token of "
                    f"model.{name} ({len(lacking)} of {len(tokens)} are not)."
                )
        return tokens

    def support_rows(self, task: str) -> Tensor:
        """Embeddings [S, D] of the support in a task's model."""
        return self.tasks[task].text.rows(self.support)

    def check_anchors(self, cells: Iterable[Cell]) -> None:
        """Refuses an anchor that is not a single token in every model; reads no weights.

        Raises:
            UserError: names the anchor and the model.
        """
        for anchor in sorted({cell.anchor for cell in cells}):
            for name, task in self.tasks.items():
                if not task.vocabulary.is_single_token(anchor):
                    words = [t.removesuffix(WORD_END) for t in task.vocabulary.tokens]
                    raise UserError(
                        f"anchor={anchor}: not a single token of model.{name}. "
                        f"{nearest(anchor, words)}"
                    )


def build(config: Config, device: torch.device) -> Suite:
    """The models a config names; their weights are read when they are first used.

    A task whose constructor asks for the judge, the safety checker or the cache is given it.

    Raises:
        UserError: a `_target_` does not exist or does not take the keys it is given.
    """
    tasks = {}
    for name, node in config.model.tasks.items():
        key = f"model.{name}"
        arguments: dict[str, Any] = {"device": device, "training": Training(**node["training"])}
        asked = inspect.signature(_class(node, key)).parameters
        if "judge" in asked:
            if config.model.judge is None:
                raise UserError(f"model.judge: is missing, and {key} needs it.")
            arguments["judge"] = build_part(config.model.judge, "model.judge", device=device)
        if "cache" in asked and config.cache.folder is not None:
            arguments["cache"] = Cache(config.cache.folder, int(config.cache.gigabytes * 1e9))
        if "safety" in asked and config.model.safety is not None:
            arguments["safety"] = build_part(config.model.safety, "model.safety", device=device)
        tasks[name] = build_part(node, key, **arguments)
    return Suite(tasks, config.model.support)


def build_part(node: Node, key: str, **arguments: Any) -> Any:
    """The object that a config node with a `_target_` describes.

    Raises:
        UserError: there is no such class, or it does not take these keys.
    """
    values = {name: value for name, value in node.items() if name != "_target_"}
    kind = _class(node, key)
    try:
        inspect.signature(kind).bind(**{**values, **arguments})
    except TypeError as error:
        raise UserError(f"{key}: {node['_target_']} {error}.") from error
    return kind(**{**values, **arguments})


def _class(node: Node, key: str) -> Any:
    try:
        return get_class(node["_target_"])
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"{key}._target_={node['_target_']}: cannot be found ({error}).") from error

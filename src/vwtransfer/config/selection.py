"""Which words are trained and where they are tried: task, direction, concept, anchor, delta."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vwtransfer.config import DatasetConfig, ModelConfig, Product
from vwtransfer.config.schema import convert
from vwtransfer.errors import UserError, nearest

ALL_DELTAS = (0.1, 0.2, 0.5, 1.0)
"""Section 5 of the paper."""


def tasks(chosen: Any, known: Sequence[str]) -> tuple[str, ...]:
    """The tasks in whose models words are trained.

    Args:
        chosen: task -> true or false, or {all: true}.
        known: the tasks of the study's models.
    """
    names = _switched_on(chosen, "task")
    if "all" in names:
        return tuple(known)
    for name in names:
        if name not in known:
            raise UserError(f"task={name}: no model has this task. {nearest(name, known)}")
    if not names:
        raise UserError(f"task: none is chosen. {nearest('', known)}")
    return tuple(names)


def directions(
    chosen: Any, trained: Sequence[str], models: ModelConfig
) -> tuple[tuple[str, str], ...]:
    """(source model, target model) of every transfer, each once, in the order of the models.

    Args:
        chosen: "a_to_b" of tasks -> true or false, or {all: true}; `pairs`: a list of models'
            names, which takes the place of `all`.
        trained: the tasks in whose models words are trained.
        models: of the study.
    """
    if not isinstance(chosen, Mapping):
        raise UserError(f"direction={chosen}: choose direction=NAME or direction.pairs=[[a,b]].")
    pairs = _pairs(chosen.get("pairs"), trained, models)
    names = _switched_on({k: v for k, v in chosen.items() if k != "pairs"}, "direction")
    every = [(a, b) for a in models.models for b in models.models if a != b]
    tasks_of = {(a, b): f"{models.task_of(a)}_to_{models.task_of(b)}" for a, b in every}
    possible = list(dict.fromkeys(tasks_of.values()))
    if "all" in names and not pairs:
        return tuple(pair for pair in every if models.task_of(pair[0]) in trained)
    names = [name for name in names if name != "all"]
    for name in names:
        if name not in possible:
            raise UserError(f"direction={name}: no such direction. {nearest(name, possible)}")
        _check_trained(f"direction={name}", name.split("_to_")[0], trained)
    return tuple(pair for pair in every if pair in pairs or tasks_of[pair] in names)


def _pairs(given: Any, trained: Sequence[str], models: ModelConfig) -> list[tuple[str, str]]:
    """`direction.pairs`, checked."""
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(p, list) and len(p) == 2 for p in given):
        raise UserError(
            f"direction.pairs={given}: must be pairs of source and target, as in [[sd15,sd21]]."
        )
    for pair in given:
        for name in pair:
            if name not in models.models:
                raise UserError(f"direction.pairs: {name}: {nearest(str(name), models.models)}")
        if pair[0] == pair[1]:
            raise UserError(f"direction.pairs: {pair[0]} to itself is no transfer.")
        _check_trained(f"direction.pairs: {pair[0]}", models.task_of(pair[0]), trained)
    return [(str(a), str(b)) for a, b in given]


def _check_trained(where: str, task: str, trained: Sequence[str]) -> None:
    if task not in trained:
        raise UserError(
            f"{where}: no word is trained for {task}. "
            f"Add it with task=[{','.join([*trained, task])}]."
        )


def products(
    chosen: Mapping[str, Any], datasets: Mapping[str, DatasetConfig]
) -> tuple[Product, ...]:
    """The words of `concept`, `anchor` and `delta`, and those of each entry of `extra_grids`.

    An entry of `extra_grids` that leaves out one of the three takes it from the study.
    """
    first = {name: chosen[name] for name in ("concept", "anchor", "delta")}
    found = [_product(first, datasets, "")]
    extra = chosen["extra_grids"]
    if not isinstance(extra, list):
        raise UserError(
            f"extra_grids={extra}: must be a list of products (concept, anchor, delta)."
        )
    for i, entry in enumerate(extra):
        if not isinstance(entry, Mapping):
            raise UserError(
                f"extra_grids[{i}]={entry}: must have some of the keys {', '.join(first)}."
            )
        for name in entry:
            if name not in first:
                raise UserError(
                    f"extra_grids[{i}].{name}: unknown key. {nearest(str(name), first)}"
                )
        found.append(_product({**first, **entry}, datasets, f"extra_grids[{i}]."))
    return tuple(found)


def _product(
    chosen: Mapping[str, Any], datasets: Mapping[str, DatasetConfig], inside: str
) -> Product:
    paired = chosen["anchor"] == "paired"
    concepts = _names(chosen["concept"], f"{inside}concept", datasets, lambda d: list(d.concepts))
    if paired:
        anchors = None
        _check_pairs(concepts, datasets, inside)
    else:
        anchors = _names(chosen["anchor"], f"{inside}anchor", datasets, lambda d: d.anchors)
    return Product(concepts, anchors, paired, _deltas(chosen["delta"], f"{inside}delta"))


def _names(
    value: Any,
    key: str,
    datasets: Mapping[str, DatasetConfig],
    of: Callable[[DatasetConfig], Sequence[str]],
) -> tuple[str, ...] | None:
    """The chosen names; None for all. With several datasets each name must be in one of them."""
    if value == "all":
        return None
    names = value if isinstance(value, list) else [value]
    valid = list(dict.fromkeys(name for dataset in datasets.values() for name in of(dataset)))
    for name in names:
        if convert(str, name, key) not in valid:
            raise UserError(f"{key}={name}: not in {', '.join(datasets)}. {nearest(name, valid)}")
    if not names:
        raise UserError(f"{key}=[]: nothing is chosen. {nearest('', ['all', *valid])}")
    for dataset in datasets.values():
        if not set(names) & set(of(dataset)):
            raise UserError(
                f"{key}={','.join(names)}: {dataset.name} has none of them. "
                "Choose one that it has, or leave the dataset out."
            )
    return tuple(names)


def _check_pairs(
    concepts: Sequence[str] | None, datasets: Mapping[str, DatasetConfig], inside: str
) -> None:
    for dataset in datasets.values():
        for i, concept in enumerate(dataset.concepts):
            if i >= len(dataset.anchors) and (concepts is None or concept in concepts):
                raise UserError(
                    f"{inside}anchor=paired: {dataset.name} has no anchor for its concept "
                    f"{concept}; dataset.{dataset.name}.anchors ends at {dataset.anchors[-1]}."
                )


def _deltas(value: Any, key: str) -> tuple[float, ...]:
    if value == "all":
        return ALL_DELTAS
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UserError(f"{key}=[]: nothing is chosen. Take null (unconstrained), numbers or all.")
    return tuple(_delta(each, key) for each in values)


def _delta(value: Any, key: str) -> float:
    if value is None:
        return math.inf
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise UserError(f"{key}={value}: must be a number, null (unconstrained) or all.")
    if value < 0:
        raise UserError(f"{key}={value}: must be at least 0; null is unconstrained.")
    return float(value)


def _switched_on(chosen: Any, key: str) -> list[str]:
    """The names that are true in a group's mapping, as several of its files may be chosen."""
    if not isinstance(chosen, Mapping):
        raise UserError(f"{key}={chosen}: must map names to true or false; choose {key}=NAME.")
    for name, switch in chosen.items():
        if not isinstance(switch, bool):
            raise UserError(f"{key}.{name}={switch}: must be true or false.")
    return [str(name) for name, switch in chosen.items() if switch]

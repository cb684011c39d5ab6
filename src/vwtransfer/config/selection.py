"""Which words are trained and where they are tried: task, direction, concept, anchor, delta."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vwtransfer.config import DatasetConfig, Product
from vwtransfer.errors import UserError, nearest

ALL_DELTAS = (0.1, 0.2, 0.5, 1.0)
"""Section 5 of the paper."""


def tasks(chosen: Any, known: Sequence[str]) -> tuple[str, ...]:
    """What words are trained for.

    Args:
        chosen: task -> true or false, or {all: true}.
        known: the tasks that the suite of models has a part for.
    """
    names = _switched_on(chosen, "task")
    if "all" in names:
        return tuple(known)
    for name in names:
        if name not in known:
            raise UserError(f"task={name}: the model has no part for it. {nearest(name, known)}")
    if not names:
        raise UserError(f"task: none is chosen. {nearest('', known)}")
    return tuple(names)


def directions(
    chosen: Any, trained: Sequence[str], known: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """(trained for, evaluated on) of every transfer.

    Args:
        chosen: "a_to_b" -> true or false, or {all: true}.
        trained: the tasks that words are trained for.
        known: the tasks that the suite of models has a part for.
    """
    names = _switched_on(chosen, "direction")
    possible = {f"{a}_to_{b}": (a, b) for a in known for b in known if a != b}
    if "all" in names:
        return tuple(pair for pair in possible.values() if pair[0] in trained)
    for name in names:
        if name not in possible:
            raise UserError(f"direction={name}: no such direction. {nearest(name, possible)}")
        if possible[name][0] not in trained:
            source = possible[name][0]
            raise UserError(
                f"direction={name}: no word is trained for {source}. "
                f"Add it with task=[{','.join([*trained, source])}]."
            )
    return tuple(possible[name] for name in names)


def products(
    chosen: Mapping[str, Any], datasets: Mapping[str, DatasetConfig]
) -> tuple[Product, ...]:
    """The words of `concept`, `anchor` and `delta`, and those of each entry of `extra`.

    An entry of `extra` that leaves out one of the three takes it from the study.
    """
    first = {name: chosen[name] for name in ("concept", "anchor", "delta")}
    found = [_product(first, datasets, "")]
    extra = chosen["extra"]
    if not isinstance(extra, list):
        raise UserError(f"extra={extra}: must be a list of products (concept, anchor, delta).")
    for i, entry in enumerate(extra):
        if not isinstance(entry, Mapping):
            raise UserError(f"extra[{i}]={entry}: must have some of the keys {', '.join(first)}.")
        for name in entry:
            if name not in first:
                raise UserError(f"extra[{i}].{name}: unknown key. {nearest(str(name), first)}")
        found.append(_product({**first, **entry}, datasets, f"extra[{i}]."))
    return tuple(found)


def _product(
    chosen: Mapping[str, Any], datasets: Mapping[str, DatasetConfig], inside: str
) -> Product:
    paired = chosen["anchor"] == "paired"
    concepts = _names(chosen["concept"], f"{inside}concept", datasets, _concepts)
    if paired:
        anchors = None
        _check_pairs(concepts, datasets, inside)
    else:
        anchors = _names(chosen["anchor"], f"{inside}anchor", datasets, lambda d: d.anchors)
    return Product(concepts, anchors, paired, _deltas(chosen["delta"], f"{inside}delta"))


def _concepts(dataset: DatasetConfig) -> Sequence[str]:
    return list(dataset.concepts)


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
        if name not in valid:
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

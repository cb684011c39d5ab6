"""Plain values into typed dataclasses; the first that does not fit is refused by its key."""

import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vwtransfer.config.renamed import new_choice, new_key
from vwtransfer.errors import UserError, nearest

T = TypeVar("T")

_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Bounds:
    """Limits of a number; goes into `Annotated`."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def complaint(self, value: float) -> str | None:
        """What is wrong with `value`, or None."""
        if not math.isfinite(value):
            return "must be finite"
        if self.least is not None and value < self.least:
            return f"must be at least {self.least}"
        if self.above is not None and value <= self.above:
            return f"must be above {self.above}"
        if self.most is not None and value > self.most:
            return f"must be at most {self.most}"
        if self.below is not None and value >= self.below:
            return f"must be below {self.below}"
        return None


@dataclass(frozen=True)
class Template:
    """A prompt with one place for the word; goes into `Annotated`."""

    def complaint(self, value: str) -> str | None:
        """What is wrong with `value`, or None."""
        if value.count("{}") != 1:
            return "must have {} once, where the word goes, as in 'a photo of {}'"
        return None


def build(schema: type[T], values: Any, key: str) -> T:
    """The dataclass `schema` filled with `values`.

    Args:
        schema: its type hints say what fits: bool, int, float, str, Path, None, Any, Literal,
            tuples, mappings with text as keys, other dataclasses, and `Annotated` with a limit.
        values: a mapping with the schema's fields; those with a default may lack, as they do in
            configs kept by an earlier version.
        key: where `values` stands in the config, for messages.

    Raises:
        UserError: a field is unknown, missing or does not fit.
    """
    hints = get_type_hints(schema, include_extras=True)
    if not isinstance(values, Mapping):
        raise UserError(f"{key}={values}: must have the keys {', '.join(hints)}.")
    inside = f"{key}." if key else ""
    for name in values:
        if name not in hints:
            raise unknown_key(f"{inside}{name}", hints)
    for name in hints:
        if name not in values and not hasattr(schema, name):  # a default stands in the class
            raise UserError(f"{inside}{name}: is missing.")
    given = [name for name in hints if name in values]
    return schema(**{name: convert(hints[name], values[name], inside + name) for name in given})


def unknown_key(key: str, valid: Iterable[str]) -> UserError:
    """What is said of a key that no schema has: its new name, or the nearest ones."""
    if new := new_key(key):
        return UserError(f"{key}: is called {new} now.")
    return UserError(f"{key}: unknown key. {nearest(key.rpartition('.')[2], valid)}")


def convert(hint: Any, value: Any, key: str) -> Any:
    """`value` as the type `hint`; see `build`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        return _limited(arguments, value, key)
    if origin in (Union, UnionType):
        other = next(each for each in arguments if each is not NoneType)
        return None if value is None else convert(other, value, key)
    if origin is Literal:
        return _chosen(arguments, value, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{key}={value}: must be a list.")
        return tuple(convert(arguments[0], each, f"{key}[{i}]") for i, each in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{key}={value}: must be a mapping.")
        return {str(k): convert(arguments[1], each, f"{key}.{k}") for k, each in value.items()}
    return _simple(hint, value, key)


def _chosen(arguments: tuple[Any, ...], value: Any, key: str) -> Any:
    if value not in arguments or type(value) is not type(arguments[arguments.index(value)]):
        if new := new_choice(key, str(value)):
            raise UserError(f"{key}={value}: is called {new} now.")
        raise UserError(f"{key}={value}: {nearest(_written(value), map(_written, arguments))}")
    return value


def _limited(arguments: tuple[Any, ...], value: Any, key: str) -> Any:
    hint, *limits = arguments
    converted = convert(hint, value, key)
    for limit in limits:
        complaint = limit.complaint(converted)
        if complaint:
            raise UserError(f"{key}={value}: {complaint}.")
    return converted


def _simple(hint: Any, value: Any, key: str) -> Any:
    if hint is Path:
        return Path(_text(value, key))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str:
        return _text(value, key)
    if hint in _WORDS:
        if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
            raise UserError(f"{key}={_shown(value)}: must be {_WORDS[hint]}.")
        return value
    return build(hint, value, key)


def _text(value: Any, key: str) -> str:
    if isinstance(value, bool | int | float):
        raise UserError(
            f"{key}={value}: must be a text, not a number or truth value. Put it into quotes, as "
            f'in {key}: "..." in a YAML file.'
        )
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        instead = shlex.quote(f'{key}="[{value[0]}]"')
        raise UserError(
            f"{key}=[{value[0]}]: must be a text, not a list. If the brackets are part of it, type "
            f"{instead}."
        )
    if not isinstance(value, str):
        raise UserError(f"{key}={_shown(value)}: must be a text.")
    if not value.strip():
        raise UserError(f"{key}={value}: is empty. Give it a value, or leave it out.")
    return value


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)

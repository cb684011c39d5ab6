"""Small files of a study's folder, which may come from a stranger: read within limits, never run.

What is read are texts, numbers, lists and mappings. A date stays text, an alias of YAML (a file
can grow without end by them) and what is nested deeper than any config are refused.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vwtransfer.config import Config
from vwtransfer.config.validation import checked
from vwtransfer.errors import UserError, quoted

LARGEST = 1_000_000  # bytes; PyYAML reads that in some seconds
DEEPEST = 30  # mappings and lists in one another
LONGEST_NUMBER = 1024  # bits: that of the largest float, which may stand there as a whole number


class _Loader(yaml.SafeLoader):
    """Without aliases and dates."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias")
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_value(path: Path) -> Any:
    """What a .yaml or .json file says, as plain values.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        if path.is_symlink():  # to what is nobody's business but the reader's
            raise ValueError("it is a link")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8")
        return _plain(json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({quoted(error)}).") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """As `read_value`, of a file that holds keys with values."""
    values = read_value(path)
    if not isinstance(values, Mapping):
        raise UserError(f"{path} cannot be read (it holds no keys with values).")
    return {str(key): value for key, value in values.items()}


def read_config(path: Path, **now: Any) -> Config:
    """The config of a study that was saved there.

    Args:
        path: its file.
        now: keys that count in place of those of the file.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, or this version cannot follow it.
    """
    values = {**read_mapping(path), **now}
    try:
        return config_of(values, path)
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path} holds no config of this version: {error}") from error


def config_of(values: Mapping[str, Any], path: Path) -> Config:
    """`validation.checked` of what `read_mapping` found in a file; raises UserError alone."""
    try:
        return checked(values)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise UserError(f"{path} holds no config of a study ({quoted(error)}).") from error


def _plain(value: Any, depth: int = 1) -> Any:
    """`value` as any writer of files can take it."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        return {_key(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int) and value.bit_length() <= LONGEST_NUMBER:
        return value
    raise ValueError(f"it holds a value of the kind {type(value).__name__}")


def _key(key: Any) -> Any:
    """A folder may be called 10, which YAML takes for a number."""
    return key if isinstance(key, int) else _plain(str(key))

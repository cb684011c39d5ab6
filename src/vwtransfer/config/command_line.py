"""The arguments of the command line as Hydra's parser takes them, and what to type instead.

Hydra reads `name=2024_05_01` as a number and cannot read `word=it's.pt` or `outputs=~/runs` at all.
Where a key is a text, what was typed is quoted for it.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from vwtransfer.config import Config
from vwtransfer.config.datasets import SCHEMAS as DATASETS
from vwtransfer.config.models import SCHEMAS as MODELS
from vwtransfer.errors import UserError

_IN_QUOTES = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # what Python makes of bytes that are no text
_LISTED = re.compile(rf"{_IN_QUOTES}|[^\]\[,]+")
_MAPPED = re.compile(rf"{_IN_QUOTES}|[^\]\[,{{}}:]+")


def as_typed(arguments: Sequence[str], groups: Path) -> list[str]:
    """The arguments with texts quoted that Hydra would not take as they were typed.

    Args:
        arguments: of the command line.
        groups: the folder of the config's groups; GROUP=null leaves one of them out.

    Raises:
        UserError: an argument is not UTF-8, or has no key.
    """
    for argument in arguments:
        if argument.lstrip("+~").startswith("="):
            raise UserError(f"{argument}: must be KEY=VALUE; see vwtransfer --help.")
        if _SURROGATE.search(argument):
            raise UserError(not_utf8(argument))
    return [_as_typed(argument, groups) for argument in arguments]


def _as_typed(argument: str, groups: Path) -> str:
    key, equal, value = argument.partition("=")
    if not equal or key.startswith(("-", "~")):
        return argument
    is_group = bool(re.fullmatch(r"[a-z_/]+", key)) and (groups / key).is_dir()
    if is_group and value == "null":
        return f"~{key}"
    if not (is_group or is_text(key.lstrip("+"))) or ("(" in value and _reads(argument)):
        return argument
    readable = value if _reads(argument) else _quoted_where_needed(value)
    return (
        f"{key}={_LISTED.sub(_quoted_number, readable)}"
        if _reads(f"{key}={readable}")
        else argument
    )


def remedy(argument: str) -> str:
    """What is wrong with an argument that Hydra's parser refuses, and what to type instead."""
    key, equal, value = argument.partition("=")
    if not equal:
        return f"{argument}: must be KEY=VALUE; see vwtransfer --help."
    if not _reads(f"{key}=x"):
        return (
            f"{argument}: the command line takes no such key. If it is one, put it into a YAML "
            "file: --config-dir, or conf/local/default.yaml."
        )
    instead = f"{key}={_quoted_where_needed(value)}"
    if _reads(instead):
        return (
            f"{argument}: cannot be read like this. If all letters are meant as they stand, type "
            f"{shlex.quote(instead)}."
        )
    return (
        f"{argument}: cannot be read. Is each bracket and quote closed? What the command line "
        "cannot spell goes into a YAML file: --config-dir, or conf/local/default.yaml."
    )


def not_utf8(text: str) -> str:
    """What is said of a name that cannot be written in UTF-8, or in the letters of this locale."""
    if sys.getfilesystemencoding() != "utf-8":
        return f"{text!a}: cannot be read in this locale. Set PYTHONUTF8=1."
    return f"{text!a}: is not UTF-8. Rename the file or folder, or give another text."


def is_text(key: str) -> bool:
    """Whether a key's value is a text, a path, or a list of them."""
    group, _, rest = key.partition(".")
    return key in _texts() or f"{group}.*.{rest.partition('.')[2]}" in _texts()


@cache
def _texts() -> frozenset[str]:
    found = {"concept", "anchor", "transfer.name", "transfer.folder", *_texts_in(Config)}
    for group, schemas in (("model", MODELS), ("dataset", DATASETS)):
        found |= {f"{group}.*.{name}" for each in schemas.values() for name in _texts_in(each)}
    return frozenset(found)


def _texts_in(schema: type, inside: str = "") -> Iterator[str]:
    for name, hint in get_type_hints(schema).items():
        if is_dataclass(hint):
            yield from _texts_in(hint, f"{inside}{name}.")  # type: ignore[arg-type]
        elif _holds_text(hint):
            yield f"{inside}{name}"


def _holds_text(hint: Any) -> bool:
    several = get_origin(hint) in (tuple, Union, UnionType)
    return hint in (str, Path) or (several and any(map(_holds_text, get_args(hint))))


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _reads(argument: str) -> bool:
    try:
        _parser().parse_override(argument)
    except (HydraException, ValueError, TypeError):
        return False
    return True


def _quoted_where_needed(value: str) -> str:
    """A value in which each text that cannot be read is quoted: of a list, a mapping or a sweep."""
    if re.match(r"\[*{", value):
        return _MAPPED.sub(_quoted_piece, value)
    return _LISTED.sub(_quoted_piece, value) if re.search(r"^\[|,", value) else _quoted(value)


def _quoted_number(match: re.Match[str]) -> str:
    """What Hydra would take for a number or a truth value, quoted."""
    text = match[0].strip()
    read = _parser().parse_rule(text, "element") if _reads(f"x={text}") else text
    return _quoted(text) if isinstance(read, int | float) else match[0]


def _quoted_piece(match: re.Match[str]) -> str:
    text = match[0].strip()
    return match[0] if not text or _reads(f"x={text}") else _quoted(text)


def _quoted(text: str) -> str:
    return str(QuotedString(text=text, quote=Quote.double).with_quotes())

"""The arguments of the command line as Hydra's parser takes them, and what to type instead.

Hydra reads `name=2024_05_01` as a number and cannot read `word=it's.pt` or `outputs=~/runs` at all.
Where a key is a text, what was typed is quoted for it.
"""

import re
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
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
FREE = ("cluster.additional_parameters", "cluster.seconds_per_word")  # mappings of any key
_UNTYPED = {
    "concept": tuple[str, ...],
    "anchor": tuple[str, ...],
    "delta": tuple[float, ...],
    "transfer.name": str,
    "transfer.folder": Path,
}
"""Keys of conf/ that no schema has under this name."""
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
    alone = [each for argument in arguments for each in _one_by_one(argument)]
    return [_as_typed(argument, groups) for argument in alone]


def _one_by_one(argument: str) -> list[str]:
    """transfer=[ONE,OTHER] as the choice of one, and of the others beside it."""
    if not (listed := re.fullmatch(r"transfer=\[([\w.,+ -]+)\]", argument)):
        return [argument]
    first, *others = (name.strip() for name in listed[1].split(","))
    return [f"transfer={first}", *(f"+transfer@transfer.beside.{n}={n}" for n in others)]


def own_folder(arguments: Sequence[str]) -> Path | None:
    """The folder with groups of a user's own, of --config-dir in any of the ways to write it."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", nargs="?")
    folder = parser.parse_known_args(arguments)[0].config_dir
    return Path(folder) if folder else None


def _as_typed(argument: str, groups: Path) -> str:
    key, equal, value = argument.partition("=")
    if not equal or key.startswith(("-", "~")):
        return argument
    is_group = _is_group(key, groups)
    if is_group and value == "null":
        return f"~{key.lstrip('+')}"
    if not (is_group or is_text(key.lstrip("+"))) or ("(" in value and _reads(argument)):
        return argument
    readable = value if _reads(argument) else _quoted_where_needed(value)
    return (
        f"{key}={_LISTED.sub(_quoted_number, readable)}"
        if _reads(f"{key}={readable}")
        else argument
    )


def _is_group(key: str, groups: Path) -> bool:
    bare = key.lstrip("+")
    return bool(re.fullmatch(r"[a-z_/]+", bare)) and (groups / bare).is_dir()


def remedy(argument: str) -> str:
    """What is wrong with an argument that Hydra's parser refuses, and what to type instead."""
    key, equal, value = argument.partition("=")
    if not equal:
        return f"{argument}: must be KEY=VALUE; see vwtransfer --help."
    if key != key.strip():
        return f"{argument.strip()}: must be KEY=VALUE, without blanks beside the key."
    if not _reads(f"{key}=x"):
        return (
            f"{argument}: the command line takes no such key. If it is one, put it into a YAML "
            "file: --config-dir, or conf/local/default.yaml."
        )
    free = key.rpartition(".")[0] in FREE
    instead = f"{'+' * free}{key}={_quoted_where_needed(value)}"
    if _reads(instead):
        return f"{argument}: cannot be read like this. {_as_it_stands(instead)}"
    wrong = f"{argument}: cannot be read. Is each bracket and quote closed?"
    if is_text(key.lstrip("+")):
        return f"{wrong} {_as_it_stands(_as_text(key, value))}"
    return (
        f"{wrong} What the command line cannot spell goes into a YAML file: --config-dir, or "
        "conf/local/default.yaml."
    )


def several(argument: str, groups: Path) -> str:
    """What is said of an argument that Hydra takes for a sweep where none was asked for."""
    key, _, value = argument.partition("=")
    is_group, bare = _is_group(key, groups), key.lstrip("+")
    ways = [f"{argument}: is read as several values."]
    if is_group or not value.startswith("glob("):
        ways.append("For a job with each, begin with -m.")
    if "(" not in value and (is_group or bare in _keys(_is_list)):
        ways.append(f"For a list, type {shlex.quote(f'{key}=[{value}]')}.")
    if is_text(bare):
        ways.append(_as_it_stands(_as_text(key, value)))
    return " ".join(ways)


def _as_text(key: str, value: str) -> str:
    in_list = key.lstrip("+") in _keys(_is_list)
    return f"{key}=[{_quoted(value)}]" if in_list else f"{key}={_quoted(value)}"


def _as_it_stands(instead: str) -> str:
    return f"If all letters are meant as they stand, type {shlex.quote(instead)}."


def not_utf8(text: str) -> str:
    """What is said of a name that cannot be written in UTF-8, or in the letters of this locale."""
    if sys.getfilesystemencoding() != "utf-8":
        return f"{text!a}: cannot be read in this locale. Set PYTHONUTF8=1."
    return f"{text!a}: is not UTF-8. Rename the file or folder, or give another text."


def is_text(key: str) -> bool:
    """Whether a key's value is a text, a path, or a list of them."""
    group, _, rest = key.partition(".")
    texts = _keys(_holds_text)
    return key in texts or f"{group}.*.{rest.partition('.')[2]}" in texts


@cache
def _keys(fits: Callable[[Any], bool]) -> frozenset[str]:
    """The keys whose values are of a kind; of models and datasets with * for the name."""
    found = {key for key, hint in _UNTYPED.items() if fits(hint)} | {*_keys_in(Config, fits)}
    for group, schemas in (("model", MODELS), ("dataset", DATASETS)):
        each_key = (name for each in schemas.values() for name in _keys_in(each, fits))
        found |= {f"{group}.*.{name}" for name in each_key}
    return frozenset(found)


def _keys_in(schema: type, fits: Callable[[Any], bool], inside: str = "") -> Iterator[str]:
    for name, hint in get_type_hints(schema).items():
        if is_dataclass(hint):
            yield from _keys_in(hint, fits, f"{inside}{name}.")  # type: ignore[arg-type]
        elif fits(hint):
            yield f"{inside}{name}"


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple


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
    read = _parser().parse_rule(text, "element") if text and _reads(f"x={text}") else text
    return _quoted(text) if isinstance(read, int | float) else match[0]


def _quoted_piece(match: re.Match[str]) -> str:
    text = match[0].strip()
    return match[0] if not text or _reads(f"x={text}") else _quoted(text)


def _quoted(text: str) -> str:
    return str(QuotedString(text=text, quote=Quote.double).with_quotes())

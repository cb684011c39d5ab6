"""One line for what a person can mend, whoever found it: this package, Hydra or OmegaConf."""

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vwtransfer import files
from vwtransfer.config.command_line import FREE, not_utf8, own_folder, remedy, several
from vwtransfer.config.composition import composed, config_folder
from vwtransfer.config.renamed import new_choice, new_key
from vwtransfer.errors import UserError, nearest

_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_UNKNOWN_CHOICE = re.compile(r"Could not (?:find|load) '(.+/.*)'")
_SEVERAL = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '\+*([^=]+)=")
_MISFIT = re.compile(r"Error merging override (.*)")
_PLAIN = {"DictConfig": "a mapping", "ListConfig": "a list", "primitive container": "a value"}
_TWICE = re.compile(r"Multiple values for (\S+)\.|An item is already at '(.+)'")
_BESIDE_TWICE = re.compile(r"transfer@transfer\.beside\.(\w+) appears more than once")
_NO_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")
_NO_NAME = (
    "a group takes the name of a choice, or a list of them; null cannot be one of a sweep's, but "
    "is started by itself."
)
_COMPOSING = ("hydra", "omegaconf", "antlr4", "yaml")


class Refused(BaseException):
    """Carries an error out of Hydra, which catches every Exception and prints more than a line.

    Attributes:
        error: what happened.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def explained(error: BaseException, arguments: list[str]) -> str | None:
    """The line for `error`; None where it is a fault of the code rather than of the input.

    Args:
        error: what was raised.
        arguments: the command line, for the keys that were valid in its config.
    """
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return _line(str(cause))
        if _NO_OPERATOR.search(str(cause)):
            return (
                f"torchvision {version('torchvision')} was built for another torch than "
                f"{version('torch')}, and cannot be loaded. Install both from one index: "
                "docs/install.md, Without CUDA."
            )
    if isinstance(error, OSError) and error.filename:
        written = files.explained(error, Path(error.filename))
        return str(written) if written else None
    if isinstance(error, UnicodeEncodeError):
        whole, at = error.object, error.start
        return not_utf8(whole[:at].rpartition("\0")[2] + whole[at:].partition("\0")[0])
    return _explained_by_hydra(error, arguments)


def _explained_by_hydra(error: BaseException, arguments: list[str]) -> str | None:
    """The line for what Hydra, or what it stands on, found in what it was given to read."""
    if isinstance(error, OverrideParseException):
        return _line(remedy(error.override))
    if isinstance(error, HydraException | OmegaConfBaseException):
        if unknown := _UNKNOWN_KEY.search(str(error)):
            return _line(_unknown_key(unknown["key"], arguments))
        if unknown := _UNKNOWN_CHOICE.search(str(error)):
            return _line(_unknown_choice(*_group_and_choice(unknown[1]), error, arguments))
        if twice := _TWICE.search(str(error)):
            key = twice[1] or twice[2]
            return f"+{key}: {key} is there already; write it without '+', as {key}=VALUE."
        if again := _BESIDE_TWICE.search(str(error)):
            return f"transfer: {again[1]} is there already; leave it out of the list."
        if found := _SEVERAL.search(str(error)):
            typed = [each for each in arguments if each.lstrip("+").partition("=")[0] == found[1]]
            return _line(several(typed[-1], config_folder()))
        return _with_cause(error)
    if str(error).startswith("Config group override must be"):
        nulls = [each for each in arguments if re.search(r"[=,]null(,|$)", each)]
        return ": ".join([*nulls[:1], _NO_NAME])
    return _line(str(error)) if _of_composing(error) else None


def traceback_wanted(arguments: list[str]) -> bool:
    """Whether a person asked for more than the line."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1" or "debug=true" in arguments


def report(line: str) -> None:
    """Prints `line` where errors go."""
    print(f"vwtransfer: {line}", file=sys.stderr, flush=True)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(text: str) -> str:
    return " ".join(text.split())


def _with_cause(error: BaseException) -> str:
    if isinstance(error, OmegaConfBaseException):
        where = f"{error.full_key}: " if error.full_key else ""
        return _line(where + str(error).splitlines()[0])
    cause = error.__cause__
    if (misfit := _MISFIT.search(str(error))) and cause is not None:
        why = str(cause).splitlines()[0]
        for name, plain in _PLAIN.items():
            why = why.replace(name, plain)
        return _line(f"{misfit[1]}: does not fit what is there ({why}).")
    text = str(error) if cause is None or str(cause) in str(error) else f"{error} ({cause})"
    return _line(re.sub(r"\bset env var HYDRA_FULL_ERROR=1 .*", "", text))


def _of_composing(error: BaseException) -> bool:
    """Whether Hydra or what it stands on raised an error, of what it was given to read."""
    frames = list(walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    return module.partition(".")[0] in _COMPOSING


def _unknown_choice(group: str, choice: str, error: BaseException, arguments: list[str]) -> str:
    if new := new_choice(group, choice):
        return f"{group}={choice}: is called {new} now."
    if group == "dataset" and ("/" in choice or (choice and Path(choice).is_dir())):
        folder = shlex.quote(f"dataset.folder.root={choice}")
        return f"dataset={choice}: is a folder. Photos are chosen by: dataset=folder {folder}"
    if group in ("hydra/launcher", "hydra/sweeper"):
        known = error.options if isinstance(error, MissingConfigException) else None
        return f"{group}={choice}: is not installed. {nearest(choice, known or ())}"
    folders = [config_folder(), own_folder(arguments)]
    options = {path.stem for top in folders if top for path in (top / group).glob("*.yaml")}
    return f"{group}={choice}: no such choice. {nearest(choice, sorted(options))}"


def _group_and_choice(both: str) -> tuple[str, str]:
    """The two of `dataset/tiny` or, as a choice may hold slashes, `dataset//a/folder`."""
    folder = config_folder()
    groups = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*/*.yaml")}
    known = [group for group in groups if both.startswith(f"{group}/")]
    group = max(known, key=len) if known else both.rpartition("/")[0]
    return group, both[len(group) + 1 :]


def _unknown_key(key: str, arguments: list[str]) -> str:
    """The nearest keys are looked for in the config that the other overrides make."""
    if new := new_key(key):
        return f"{key}: is called {'+' * (new.rpartition('.')[0] in FREE)}{new} now."
    valid = _keys_of_config([a for a in arguments if a.lstrip("+~").split("=")[0] != key])
    parent, _, last = key.rpartition(".")
    if parent in FREE:
        return f"{key}: is not there yet; add it with '+', as in +{key}=VALUE."
    if "@" in key:
        return f"{key}: is not there yet; add it with '+', as in +{key}=VALUE."
    if key in valid:
        return f"{key}: takes the name of a choice, or a list of them."
    while parent and parent not in valid:
        parent = parent.rpartition(".")[0]
    inside = [each for each in valid if each.startswith(f"{parent}." if parent else "")]
    by_last = {each.rpartition(".")[2]: each for each in reversed(inside)}
    siblings = [each for each in inside if each.rpartition(".")[0] == parent]
    close = get_close_matches(last, by_last, n=1)
    guess = f"Did you mean '{by_last[close[0]]}'? " if close else ""
    valid_here = f"{guess}Valid: {', '.join(siblings)}." if siblings else f"{parent} has no keys."
    return f"{key}: unknown key. {valid_here}"


def _keys_of_config(arguments: list[str]) -> list[str]:
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    choices = [a for a in overrides if "." not in a.split("=")[0]]
    own = own_folder(arguments)
    for some in (overrides, choices):
        try:
            config = composed(some, own)
            break
        except (HydraException, OmegaConfBaseException):  # a sweep, or a second error
            continue
    else:
        config = composed([], own)
    return list(_dotted(OmegaConf.to_container(config), ""))


def _dotted(value: Any, inside: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from _dotted(each, f"{inside}{name}.")

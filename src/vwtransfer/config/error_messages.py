"""One line for what a person can mend, whoever found it: this package, Hydra or OmegaConf."""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vwtransfer import files
from vwtransfer.config.composition import composed, config_folder
from vwtransfer.config.renamed import new_choice, new_key
from vwtransfer.errors import UserError, nearest

_UNKNOWN_KEY = re.compile(r"Could not override '(?P<key>[^']+)'")
_UNKNOWN_CHOICE = re.compile(r"Could not (?:find|load) '(?P<group>.+)/(?P<choice>[^/']+)'")


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
    if isinstance(error, OSError) and error.filename:
        written = files.explained(error, Path(error.filename))
        return str(written) if written else None
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {_line(error.message.splitlines()[0])}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        if unknown := _UNKNOWN_KEY.search(str(error)):
            return _unknown_key(unknown["key"], arguments)
        if unknown := _UNKNOWN_CHOICE.search(str(error)):
            return _unknown_choice(unknown["group"], unknown["choice"], arguments)
        return _with_cause(error)
    return None


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
    text = str(error) if cause is None or str(cause) in str(error) else f"{error} ({cause})"
    return _line(re.sub(r"\bset env var HYDRA_FULL_ERROR=1 .*", "", text))


def _unknown_choice(group: str, choice: str, arguments: list[str]) -> str:
    if new := new_choice(group, choice):
        return f"{group}={choice}: is called {new} now."
    folders = [config_folder(), _config_dir(arguments)]
    options = {path.stem for top in folders if top for path in (top / group).glob("*.yaml")}
    return f"{group}={choice}: no such choice. {nearest(choice, sorted(options))}"


def _unknown_key(key: str, arguments: list[str]) -> str:
    """The nearest keys are looked for in the config that the other overrides make."""
    if new := new_key(key):
        return f"{key}: is called {new} now."
    valid = _keys_of_config([a for a in arguments if a.lstrip("+~").split("=")[0] != key])
    parent, _, last = key.rpartition(".")
    while parent and parent not in valid:
        parent = parent.rpartition(".")[0]
    inside = [each for each in valid if each.startswith(f"{parent}." if parent else "")]
    by_last = {each.rpartition(".")[2]: each for each in reversed(inside)}
    siblings = [each for each in inside if each.rpartition(".")[0] == parent]
    close = get_close_matches(last, by_last, n=1)
    guess = f"Did you mean '{by_last[close[0]]}'? " if close else ""
    return f"{key}: unknown key. {guess}Valid: {', '.join(siblings)}."


def _keys_of_config(arguments: list[str]) -> list[str]:
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    choices = [a for a in overrides if "." not in a.split("=")[0]]
    own = _config_dir(arguments)
    for some in (overrides, choices):
        try:
            config = composed(some, own)
            break
        except (HydraException, OmegaConfBaseException):  # a sweep, or a second error
            continue
    else:
        config = composed([], own)
    return list(_dotted(OmegaConf.to_container(config), ""))


def _config_dir(arguments: list[str]) -> Path | None:
    """The folder of --config-dir, in any of the ways to write it."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    return parser.parse_known_args(arguments)[0].config_dir


def _dotted(value: Any, inside: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield f"{inside}{name}"
            yield from _dotted(each, f"{inside}{name}.")

"""Where a study's numbers come from, saved with it; and whose folder it is."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml

from vwtransfer.config import Config, origin
from vwtransfer.config.identity import differences, identity
from vwtransfer.config.models import TASKS
from vwtransfer.config.saved import read_value
from vwtransfer.errors import UserError
from vwtransfer.files import keep_inside, sweep, write_json, write_text

_SHOWN = 3  # differences
_MADE = ("words", "checkpoints", "results", "cluster")  # what is in a folder once jobs had begun


def save(config: Config) -> None:
    """What a process writes into a study's folder before it trains: `claim` and `save_process`."""
    claim(config)
    save_process(config)


def claim(config: Config) -> None:
    """Makes the study's folder its own.

    - config.yaml: the composed config of the latest job or submission
    - identity/: the parts of the config that every job under this name shares

    Raises:
        UserError: the folder holds another experiment's config, or cannot be written to.
    """
    check(config)
    keep_inside(config.folder)
    for part, value in identity(config).items():
        path = _identity_folder(config) / f"{part}.yaml"
        if not path.exists():
            write_text(path, yaml.safe_dump(value, sort_keys=False))
    check(config)  # again: two jobs may have found the folder empty at once
    keep_inside(config.folder, claimed=True)
    sweep(config.folder)
    write_text(config.folder / "config.yaml", yaml.safe_dump(config.composed, sort_keys=False))


def save_process(config: Config, command: Sequence[str] = ()) -> None:
    """Writes provenance.json: versions, commit, machine, seeds and command of the latest process.

    A process that only submits others writes none.

    Args:
        config: of the study.
        command: what a person typed, where another process than this was given it.

    Raises:
        UserError: the folder cannot be written to.
    """
    write_json(config.folder / "provenance.json", provenance(config, command or sys.argv))


def check(config: Config) -> None:
    """Makes sure that the study's folder is its own; writes nothing.

    Raises:
        UserError: the folder holds another experiment's config, or a study of a former version.
    """
    refuse_former(config)
    former = {
        path.name.removesuffix(".yaml"): _read(path)
        for path in _identity_folder(config).glob("*.yaml")
        if not path.name.startswith(".")
    }
    found = differences(former, identity(config))
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UserError(
            f"{config.folder} holds another experiment's config: "
            f"{'; '.join(found[:_SHOWN])}{more}. "
            f"{_instead(config)}, or choose another name: name=..."
        )


def _instead(config: Config) -> str:
    """What else can be done: a first run may have ended before it trained anything."""
    made = [config.kept / config.name, *(config.folder / each for each in _MADE)]
    if any(each.exists() for each in made):
        return "Resume it with the former values"
    return "It has no words yet: delete it"


def refuse_former(config: Config) -> None:
    """Refuses a folder whose words are filed by task, as they were before models had names.

    Raises:
        UserError: says which folder.
    """
    kept = config.kept / config.name
    former = [
        place
        for task in TASKS
        for place in (
            _identity_folder(config) / f"model.{task}.yaml",
            kept / f"{task}.safetensors",
            *(config.folder / "words").glob(f"*/{task}"),
            *kept.glob(f"shards/*~{task}~*.safetensors"),
        )
        if place.exists()
    ]
    if former:
        raise UserError(
            f"{former[0]} is of a former version, which filed words by task; this one files them "
            "by model. Choose another name: name=..., or go on with the version that made it."
        )


def provenance(config: Config, command: Sequence[str]) -> dict[str, Any]:
    """Versions, commit, machine and seeds of this process, and the command it was started by."""
    seeds = {name: dataset.seed for name, dataset in config.dataset.items()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(command[0]).name, *command[1:]]),
        "git": origin.commit(),
        "seeds": {"study": config.seed, **{f"dataset.{name}": s for name, s in seeds.items()}},
        "python": platform.python_version(),
        "machine": {
            "name": platform.node(),
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "packages": dict(_packages()),
    }


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Name and version of all that is installed."""
    return tuple(sorted((each.name, each.version) for each in distributions()))


def _identity_folder(config: Config) -> Path:
    return config.folder / "identity"


def _read(path: Path) -> Any:
    try:
        return read_value(path)
    except UserError as error:
        raise UserError(f"{error} Restore it, or choose another name: name=...") from error

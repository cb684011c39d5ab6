"""Where a study's numbers come from, saved with it; and whose folder it is."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml

from vwtransfer.config import Config
from vwtransfer.config.identity import differences, identity
from vwtransfer.errors import UserError
from vwtransfer.files import write_json, write_text

_SHOWN = 3  # differences


def save(config: Config) -> None:
    """Writes what a study is made of into its folder.

    - config.yaml: the composed config of the latest job
    - provenance.json: package versions, git commit, machine, seed and command of the latest job
    - identity/: the parts of the config that every job under this name shares

    Raises:
        UserError: the folder holds another experiment's config, or cannot be written to.
    """
    check(config)
    for part, value in identity(config).items():
        path = _identity_folder(config) / f"{part}.yaml"
        if not path.exists():
            write_text(path, yaml.safe_dump(value, sort_keys=False))
    check(config)  # again: two jobs may have found the folder empty at once
    write_text(config.folder / "config.yaml", yaml.safe_dump(config.composed, sort_keys=False))
    write_json(config.folder / "provenance.json", provenance(config))


def check(config: Config) -> None:
    """Makes sure that the study's folder is its own; writes nothing.

    Raises:
        UserError: the folder holds another experiment's config.
    """
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
            "Resume it with the former values, or choose another name: name=..."
        )


def provenance(config: Config) -> dict[str, Any]:
    """Versions, commit, machine, seeds and command of this process."""
    seeds = {name: dataset.seed for name, dataset in config.dataset.items()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git": _git(),
        "seeds": {"study": config.seed, **{f"dataset.{name}": s for name, s in seeds.items()}},
        "python": platform.python_version(),
        "machine": {
            "name": platform.node(),
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "packages": dict(sorted((d.name, d.version) for d in distributions())),
    }


def _identity_folder(config: Config) -> Path:
    return config.folder / "identity"


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read; restore it, or choose another name: name=..."
        ) from error


def _git() -> dict[str, Any] | None:
    """The commit this package's own source is at; None where it is not in a clone."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None

"""Which process made a word or a row: its device, host, commit and library versions."""

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "diffusers", "open_clip_torch", "vwtransfer")


@dataclass(frozen=True)
class Origin:
    """Where something was made; empty where that was not recorded.

    Attributes:
        device: such as "cpu" or "NVIDIA H200".
        host: the machine's name.
        commit: of this package, where it runs from a clone; with "+" where files were changed.
        versions: of the libraries that compute: "torch 2.15.0, transformers 5.23.0, ...".
    """

    device: str = ""
    host: str = ""
    commit: str = ""
    versions: str = ""


UNKNOWN = Origin()


def this_process(device: str) -> Origin:
    """Of what this process makes on a device."""
    return Origin(device, platform.node(), commit(), versions())


@cache
def versions() -> str:
    """The versions of the libraries that compute."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


@cache
def commit() -> str:
    """The commit this package's own source is at; "" where it is not in a clone."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return ""

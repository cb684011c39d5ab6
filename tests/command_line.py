"""`vwtransfer ARGUMENTS` in this process, which spares each test the second of a new one."""

import gc
import io
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton

from vwtransfer.main import main


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit status, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def vwtransfer(folder: Path, *arguments: str) -> Finished:
    """Runs the command in a folder; nothing of it is left in this process."""
    hydra, modules = Singleton.get_state(), set(sys.modules)
    root, thresholds = logging.getLogger(), gc.get_threshold()
    handlers, level = list(root.handlers), root.level
    status = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vwtransfer", *arguments])
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("HYDRA_FULL_ERROR", "0")  # which `main` sets
        patch.chdir(folder)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as errors:
            try:
                main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]
    root.handlers, root.level = handlers, level
    gc.set_threshold(*thresholds)
    GlobalHydra.instance().clear()
    Singleton.set_state(hydra)
    return Finished(status, out.getvalue(), errors.getvalue())

"""Jobs that do nothing but report."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from offline import recorded
from vwtransfer.tracking.outbox import Outbox

PATIENCE = 120.0
ROWS = 200
KEY = {"WANDB_API_KEY": "0" * 40}


@dataclass
class Job:
    """Work that does nothing but report.

    Attributes:
        folder: of its study.
        outbox: what it reports to.
        longest: seconds that its longest report took it.
    """

    folder: Path
    outbox: Outbox
    longest: float

    def end(self) -> float:
        """Seconds that it waits at its end."""
        began = time.monotonic()
        self.outbox.close(0)
        return time.monotonic() - began

    def losses(self) -> list[float]:
        """What can be read of its run."""
        (found,) = recorded(self.folder)
        return found.values("loss")

    def recorder(self) -> psutil.Process:
        """The process that talks to wandb."""
        until(lambda: self.outbox.process is not None)
        assert self.outbox.process is not None
        return psutil.Process(self.outbox.process.pid)


def started(
    folder: Path, variables: Mapping[str, str], timeout_s: float = 60, began: float | None = None
) -> Job:
    """A job whose process for wandb has these variables, and no key from elsewhere.

    Args:
        folder: of its study.
        variables: of the environment.
        timeout_s: how long it waits at its end.
        began: when its study was first tracked; now.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in {"HOME": str(folder), **variables}.items():
            patch.setenv(name, value)
        outbox = Outbox(folder, timeout_s)
        until(lambda: outbox.process is not None or not outbox.thread.is_alive())
    now = time.time()
    named = {"project": "p", "run_id": folder.name, "run_name": "a run", "run_group": "group"}
    settings = {**named, "finish_timeout": timeout_s, "x_disable_stats": True}
    start: tuple[Any, ...] = (
        *("start", str(folder), "auto", began or now, {}),
        {"job": ({}, settings)},
    )
    moments = [time.monotonic()]
    outbox.send(lambda: [start])
    for step in range(ROWS):
        outbox.send(partial(loss, step, now))
        moments.append(time.monotonic())
    longest = max(after - before for before, after in pairwise(moments))
    return Job(folder, outbox, longest)


def loss(step: int, now: float) -> list[tuple[Any, ...]]:
    """A report."""
    return [("log", "job", {"loss": float(step)}, now)]


def until(true: Callable[[], object], every: float = 0.05) -> None:
    """Asks again after so many seconds."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(every)

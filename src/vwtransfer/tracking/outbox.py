"""Hands calls to the process that talks to wandb, without ever making the work wait."""

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vwtransfer.errors import UserError
from vwtransfer.files import check_place

MOST_WAITING = 10_000  # reports in memory while the recorder starts; more are dropped
GRACE_S = 5.0  # for the recorder's own end, after the uploads
LOG = "recorder.log"

Report = Callable[[], Iterable[tuple[Any, ...]]]  # calls: a method of `Recorder`, its arguments


class Outbox:
    """A thread that makes calls out of reports and writes them to a `recorder` process.

    Args:
        folder: of the study; wandb/ in it is where the recorder leaves its log.
        finish_timeout_s: how long the recorder waits for uploads at its end.
    """

    def __init__(self, folder: Path, finish_timeout_s: float) -> None:
        self.log = folder / "wandb" / LOG
        self.timeout = finish_timeout_s + GRACE_S
        self.answer: dict[str, Any] = {}
        self.lost = 0
        self.reason = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self.thread.start()

    def send(self, report: Report) -> None:
        """Has a report made and sent when its turn comes; returns at once."""
        if self.waiting.qsize() < MOST_WAITING:
            self.waiting.put(report)
        else:
            self._miss("reports came faster than they were taken")

    def close(self, exit_code: int) -> None:
        """Sends what waits and the end; gives the recorder up when it takes too long."""
        self.waiting.put(lambda: [("end", exit_code)])
        self.waiting.put(None)
        self.thread.join(self.timeout)
        if self.thread.is_alive():
            self.reason = self.reason or f"no answer within {self.timeout:.0f} s"
            if self.process is not None:
                self.process.kill()

    def _work(self) -> None:
        try:
            check_place(self.log)  # wandb writes beside it
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "vwtransfer.tracking.recorder"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    # artifacts wait for `wandb beta sync` where a login node finds them, too
                    env={"WANDB_DATA_DIR": str(self.log.parent.absolute()), **_set_variables()},
                    start_new_session=True,  # Ctrl-C is for the work
                )
        except (OSError, UserError) as error:
            self.reason = f"the recorder does not start ({error})"
            return
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stream:
            while (report := self.waiting.get()) is not None:
                try:
                    for call in report():
                        stream.write(pickle.dumps(call))
                    stream.flush()
                except BrokenPipeError:
                    raise
                except Exception as error:  # a fault in a report is no reason to stop the work
                    self._miss(f"{type(error).__name__}: {error}")
        said = self.process.stdout.read()
        self.process.wait()
        if said:
            self.answer = json.loads(said)
        else:
            self.reason = self.reason or "the recorder died"

    def _miss(self, reason: str) -> None:
        self.lost += 1
        self.reason = self.reason or reason


def _set_variables() -> dict[str, str]:
    """The environment without wandb's variables that are empty, which it would refuse."""
    return {k: v for k, v in os.environ.items() if v or not k.startswith("WANDB_")}

"""Hands messages to the process that talks to wandb, without ever making the work wait."""

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from vwtransfer.tracking.messages import Closing, Message, Opening

MOST_WAITING = 10_000  # reports in memory while the recorder starts; more are dropped
GRACE_S = 5.0  # beyond the patience of wandb's own
LOG = "recorder.log"

Report = Callable[[], Iterable[Opening | Message]]


class Outbox:
    """A thread that makes messages out of reports and writes them to a `recorder` process.

    Args:
        folder: of the study; wandb/ in it is where the recorder leaves its log.
        patience: seconds that `close` waits.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self.log = folder / "wandb" / LOG
        self.patience = patience + GRACE_S
        self.answer: dict[str, Any] = {}
        self.lost = 0
        self.reason = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting: queue.Queue[Report | None] = queue.Queue(MOST_WAITING)
        self.thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self.thread.start()

    def send(self, report: Report) -> None:
        """Has a report made and sent when its turn comes; returns at once."""
        try:
            self.waiting.put_nowait(report)
        except queue.Full:
            self.lost += 1
            self.reason = self.reason or "reports came faster than they were taken"

    def close(self, exit_code: int) -> None:
        """Sends what waits and the end; gives the recorder up after `patience` seconds."""
        deadline = time.monotonic() + self.patience
        self.send(lambda: [Closing(exit_code)])
        with contextlib.suppress(queue.Full):
            self.waiting.put(None, timeout=self.patience)
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.thread.is_alive():
            self.reason = self.reason or f"no answer within {self.patience:.0f} s"
            if self.process is not None:
                self.process.kill()

    def _work(self) -> None:
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "vwtransfer.tracking.recorder"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    # artifacts wait for `wandb beta sync` where a login node finds them, too
                    env={"WANDB_DATA_DIR": str(self.log.parent.absolute()), **os.environ},
                    start_new_session=True,  # Ctrl-C is for the work
                )
        except OSError as error:
            self.reason = f"the recorder does not start ({error})"
            return
        assert self.process.stdin is not None and self.process.stdout is not None
        self._write(self.process.stdin)
        with self.process.stdout as answer:
            lines = answer.read().decode().splitlines()
        self.process.wait()
        if lines:
            self.answer = json.loads(lines[-1])
        else:
            self.reason = self.reason or "the recorder died"

    def _write(self, stream: IO[bytes]) -> None:
        """Sends reports until there are no more, or no one takes them."""
        try:
            with stream:
                while (report := self.waiting.get()) is not None:
                    self._send(report, stream)
        except OSError:
            return

    def _send(self, report: Report, stream: IO[bytes]) -> None:
        try:
            for message in report():
                stream.write(pickle.dumps(message))
            stream.flush()
        except OSError:
            raise
        except Exception as error:  # a fault in a report is no reason to stop the work
            self.lost += 1
            self.reason = self.reason or f"{type(error).__name__}: {error}"

"""`vwtransfer ARGUMENTS` in a process of its own, which can be killed.

It is a copy of this one, so that it need not import the libraries again, which takes seconds.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

from vwtransfer.main import main


class Forked:
    """A process at work.

    Args:
        work: what it does.
        errors: a file that is given what it writes to stderr.
    """

    def __init__(self, work: Callable[[], object], errors: Path) -> None:
        self._errors = errors
        self._process = get_context("fork").Process(target=_run, args=(work, errors))
        self._process.start()

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self._errors.read_text() if self._errors.exists() else ""

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, seconds: float = 120) -> int:
        """Its exit status; minus the signal that ended it."""
        self._process.join(seconds)
        status = self._process.exitcode
        assert status is not None, "it did not end"
        return status


def vwtransfer(arguments: Sequence[str], errors: Path) -> Forked:
    """Starts the command."""

    def work() -> None:
        sys.argv = ["vwtransfer", *arguments]
        main()

    return Forked(work, errors)


def _run(work: Callable[[], object], errors: Path) -> None:
    """As a new process begins: with the signals' own effects, and streams of its own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, path in ((1, Path(os.devnull)), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    work()

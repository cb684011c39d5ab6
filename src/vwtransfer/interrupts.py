"""Stopping at a safe point: a signal asks, the work saves what it has, then stops."""

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

RESTART = signal.SIGUSR2
"""What a scheduler sends ahead of a time limit or a preemption (submitit's choice)."""


@contextmanager
def deferred(patience: int = 60) -> Iterator[Callable[[], bool]]:
    """Within, signals that end a process only make the given function true; a second SIGINT acts.

    These are SIGINT, SIGTERM, SIGHUP (a terminal is closed; unless nohup has it ignored) and
    RESTART. Work asks that function after each step and raises KeyboardInterrupt once it has saved.
    Where a handler for RESTART is installed (submitit's, which has the job started again), it is
    called at the end. Work that has not come to a safe point by then is stopped after `patience`
    seconds; it goes on from its last checkpoint.
    """
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        if number == RESTART:
            signal.alarm(patience)
        if number == signal.SIGHUP:
            _let_go_of_terminal()

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in _ends()}
    if callable(signal.getsignal(RESTART)):
        before[RESTART] = signal.signal(RESTART, ask)
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, give_up)
    try:
        yield lambda: bool(asked)
    finally:
        if RESTART in asked:
            signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        if RESTART in asked:
            signal.raise_signal(RESTART)


def _ends() -> list[signal.Signals]:
    ends = [signal.SIGINT, signal.SIGTERM]
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return ends if ignored else [*ends, signal.SIGHUP]


def _let_go_of_terminal() -> None:
    """What is printed goes nowhere: a closed terminal fails whoever prints to it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)

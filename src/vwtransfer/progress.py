"""Bars with an ETA for anything over a few seconds; lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 15.0  # seconds


def terminal(elsewhere: int | None = None, **options: Any) -> Console:
    """Where a person reads; no text that is printed there is taken for markup or emoji.

    Args:
        elsewhere: the width of a file or a pipe, which has none of its own.
        options: further ones of rich's `Console`.
    """
    options |= {"markup": False, "emoji": False}
    console = Console(**options)
    return (
        console if console.is_terminal or elsewhere is None else Console(width=elsewhere, **options)
    )


def stop_where_asked(stopping: Callable[[], bool]) -> None:
    """Ends what was interrupted.

    Raises:
        KeyboardInterrupt: `stopping` is true.
    """
    if stopping():
        raise KeyboardInterrupt(
            "interrupted. What was done is kept; the same command goes on from there."
        )


class Stages:
    """The bars of a run, one for each stage."""

    def __init__(self, progress: Progress | None, console: Console) -> None:
        self.progress = progress
        self.console = console

    @contextmanager
    def stage(
        self, name: str, total: int, stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Callable[[int], None]]:
        """A bar for `total` units of work; call what it gives with how many were done.

        That raises KeyboardInterrupt once `stopping` is true.
        """
        progress = self.progress
        advance: Callable[[int], None]
        if progress is None:
            advance = self._lines(name, total)
        else:
            advance = partial(progress.advance, progress.add_task(name, total=total))

        def told(done: int) -> None:
            advance(done)
            stop_where_asked(stopping)

        yield told

    def _lines(self, name: str, total: int) -> Callable[[int], None]:
        began = last = time.monotonic()
        count = 0

        def advance(done: int) -> None:
            nonlocal count, last
            count += done
            now = time.monotonic()
            if count >= total or now - last >= LINE_EVERY:
                last = now
                left = (now - began) / max(count, 1) * (total - count)
                rest = f", about {left:.0f} s left" if count < total else ""
                self.console.print(f"{name}: {count}/{total} in {now - began:.0f} s{rest}")

        return advance


@contextmanager
def stages(console: Console, enabled: bool) -> Iterator[Stages]:
    """Bars on a terminal where they are `enabled`; else a line now and then."""
    if not (enabled and console.is_terminal):
        yield Stages(None, console)
    else:
        columns = (
            TextColumn("{task.description:<34}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield Stages(progress, console)

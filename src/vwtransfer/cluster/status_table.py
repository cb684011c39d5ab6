"""How the words of a study stand, as it is drawn at the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vwtransfer import progress
from vwtransfer.cluster.survey import DONE, FAILED, MISSING, QUEUED, RUNNING, State, total
from vwtransfer.config import ModelConfig

STANDINGS = {DONE: "green", RUNNING: "cyan", QUEUED: "blue", FAILED: "red", MISSING: "yellow"}
BAR = 20
WIDTH = 120


def terminal() -> Console:
    """The terminal; a file or a pipe is given lines as long as they come."""
    return progress.terminal(WIDTH, soft_wrap=True, highlight=False)


def status_table(states: Iterable[State], models: ModelConfig) -> Table:
    """A row of counts for each model and dataset, and one for all; fits 80 columns.

    Where several models have one task, each task's models stand below its name.
    """
    groups: dict[tuple[str, str], list[State]] = {}
    for state in states:
        groups.setdefault((state.shard.model, state.shard.dataset), []).append(state)
    drawn = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "dataset"):
        drawn.add_column(name, no_wrap=True)
    drawn.add_column("", max_width=BAR)
    for name in ("shards", *STANDINGS, "words"):
        drawn.add_column(name, justify="right", no_wrap=True)
    shared = len({model for model, _ in groups}) > len({models.task_of(m) for m, _ in groups})
    for task in models.tasks:
        of_task = [name for name in models.of_task(task) if any(name == m for m, _ in groups)]
        if shared and of_task:
            drawn.add_row(f"{task}:")
        for name in of_task:
            for (model, dataset), members in groups.items():
                if model == name:
                    drawn.add_row("  " * shared + model, dataset, *_row(members))
    drawn.add_row("all", "", *_row([s for members in groups.values() for s in members]))
    return drawn


def duration(seconds: float) -> str:
    """As a person says it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _row(states: Sequence[State]) -> list[ProgressBar | Text | str]:
    counts = total(states)
    words = sum(counts.values())
    bar = ProgressBar(max(1, words), counts[DONE], complete_style="green", finished_style="green")
    cells = [
        Text(f"{counts[name]:,}", style if counts[name] else "dim")
        for name, style in STANDINGS.items()
    ]
    return [bar, f"{len(states):,}", *cells, f"{words:,}"]

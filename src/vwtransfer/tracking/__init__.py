"""Where work reports to while it goes on, for a person to watch: wandb, or nowhere.

    with opened(config, cells, store) as tracker:          # a study, or a shard of one
        train(Job(..., tracker=tracker), ...)
        evaluate(Evaluation(..., tracker=tracker), ...)
        tracker.conclude(rows)
    print(tracker.outcome)

A report never fails, asks or waits, whatever becomes of wandb, its server or the network; only
`opened` waits at its end, `wandb.patience` seconds at most. docs/wandb.md says what is logged.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the process that talks to wandb imports this package, and starts without torch
    import pandas as pd
    from torch import Tensor

    from vwtransfer.config import Config
    from vwtransfer.evaluation.specs import EvalSpec
    from vwtransfer.tasks import Measurement
    from vwtransfer.training.word_batches import WordBatch
    from vwtransfer.words.cells import Cell
    from vwtransfer.words.store import WordStore

INTERRUPTED = 255  # what wandb takes for a run that was stopped, not one that failed


class Tracker(Protocol):
    """What trainer, evaluator and study report to.

    Attributes:
        outcome: a line for the person once all is over; empty where there is nothing to say.
    """

    outcome: str

    def step(self, pack: "WordBatch", loss_N: "Tensor") -> None:
        """A step of training was done: the pack after it, and the losses it stepped on."""
        ...

    def settled(self, cells: "Sequence[Cell]") -> None:
        """These words are finished or have failed; the store says which."""
        ...

    def measured(self, queries: "Sequence[EvalSpec]", found: "Sequence[Measurement]") -> None:
        """These rows are written."""
        ...

    def conclude(self, rows: "pd.DataFrame | None") -> None:
        """All is trained and measured; rows of the results, at least all of these cells."""
        ...


class NullTracker:
    """Reports nothing."""

    outcome = ""

    def step(self, pack: "WordBatch", loss_N: "Tensor") -> None:
        """Nothing."""

    def settled(self, cells: "Sequence[Cell]") -> None:
        """Nothing."""

    def measured(self, queries: "Sequence[EvalSpec]", found: "Sequence[Measurement]") -> None:
        """Nothing."""

    def conclude(self, rows: "pd.DataFrame | None") -> None:
        """Nothing."""


@contextmanager
def opened(config: "Config", cells: "Sequence[Cell]", store: "WordStore") -> Iterator[Tracker]:
    """The tracker that `config.wandb` asks for, of the work on these cells.

    The run's id is made of the study's folder and the cells: the same work started again goes on
    in the same run.

    Args:
        config: of the study.
        cells: what this job trains and measures, finished or not.
        store: where their words lie.
    """
    if config.wandb.mode == "disabled" or os.environ.get("WANDB_MODE") == "disabled":
        yield NullTracker()
        return
    from vwtransfer.tracking.reporter import Reporter

    reporter = Reporter(config, cells, store)
    code = 1
    try:
        yield reporter
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    finally:
        reporter.close(code)

"""Reports a study to wandb while it goes on; docs/wandb.md says what is logged.

    with opened(config, cells, store) as tracker:          # a study, or a shard of one
        ...                                                # tracker: see `study.callbacks`
    print(tracker.outcome)

A report never fails, asks or waits, whatever becomes of wandb, its server or the network; only
`opened` waits at its end, `wandb.finish_timeout_s` at most.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that talks to wandb imports this package, and starts without torch
    from vwtransfer.config import Config
    from vwtransfer.study.callbacks import Callbacks
    from vwtransfer.words.cells import Cell
    from vwtransfer.words.store import WordStore

INTERRUPTED = 255  # what wandb takes for a run that was stopped, not one that failed


@contextmanager
def opened(config: "Config", cells: "Sequence[Cell]", store: "WordStore") -> "Iterator[Callbacks]":
    """The tracker that `config.wandb` asks for, of the work on these cells.

    The run's id is made of the study's folder and the cells: the same work started again goes on
    in the same run.

    Args:
        config: of the study.
        cells: what this job trains and measures, finished or not.
        store: where their words lie.
    """
    if config.wandb.mode == "disabled" or _switched_off():
        from vwtransfer.study.callbacks import Callbacks

        yield Callbacks()
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


def _switched_off() -> bool:
    """Whether wandb's own variables say that nothing is to be recorded."""
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on")
    return disabled or os.environ.get("WANDB_MODE") == "disabled"

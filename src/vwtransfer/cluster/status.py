"""action=status: how the words of a study stand, per model and dataset, at the terminal."""

import time
from contextlib import suppress
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.archive import restore
from vwtransfer.cluster.status_table import duration, status_table, terminal
from vwtransfer.cluster.submissions import sent_to_slurm
from vwtransfer.cluster.survey import (
    FAILED,
    MISSING,
    QUEUED,
    RUNNING,
    Survey,
    interrupted,
    survey,
)
from vwtransfer.cluster.time_estimates import rate, time_estimates, total_hours, words_left
from vwtransfer.config import Config, provenance
from vwtransfer.config.models import SCHEMAS
from vwtransfer.config.saved import read_config
from vwtransfer.errors import UserError
from vwtransfer.words.store import WordStore

MOST_FAILURES = 10  # named one by one


def status(config: Config) -> None:
    """Prints how the study stands; with status.watch=true again and again until all is settled."""
    config = submitted(config)
    console = terminal()
    # a class that a stranger's config names would be imported
    if {node["_target_"] for node in config.model.models.values()} <= SCHEMAS.keys():
        with suppress(UserError):  # who may only look sees what is there
            restore(config)
    if not config.status.watch:
        console.print(snapshot(config)[0], soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            view, found = snapshot(config)
            live.update(view, refresh=True)
            if not found.words[RUNNING] + found.words[QUEUED]:
                return
            time.sleep(config.status.every)


def submitted(config: Config) -> Config:
    """The config of the latest submission under this name; `config` where there was none.

    Raises:
        UserError: the study is of a former version, or its config cannot be read.
    """
    provenance.refuse_former(config)
    now = {name: config.composed[name] for name in ("outputs", "name", "status")}
    try:
        return read_config(_submission(config), **now)
    except FileNotFoundError:
        return config


def _submission(config: Config) -> Path:
    """Where the config of the latest submission lies, if there was one."""
    return config.folder / "cluster" / "config.yaml"


def snapshot(config: Config) -> tuple[RenderableType, Survey]:
    """What is shown, and what it was made of."""
    found = survey(config)
    lines: list[RenderableType] = [
        f"{config.name}: {config.folder}",
        status_table(found.states, config.model),
    ]
    if not _submission(config).is_file():
        lines.append("nothing was submitted under this name; shown is what this command describes")
    lines += _pace(config, found)
    if not found.answered and sent_to_slurm(config.folder):
        lines.append("squeue does not answer: what is queued shows as missing for now")
    lines += _failures(config, found)
    return Group(*lines), found


def _pace(config: Config, found: Survey) -> list[str]:
    """Rate and ETA."""
    left = found.words[RUNNING] + found.words[QUEUED] + found.words[MISSING]
    if not left:
        return []
    pace = rate(config.folder, found.states, time.time())
    if pace:
        eta = "" if not found.words[RUNNING] else f"; about {duration(left / pace)} left"
        return [f"{pace * 3600:,.0f} words an hour{eta}"]
    estimates = time_estimates(config, found.states)
    taken = total_hours(words_left(config, found.states, RUNNING, QUEUED, MISSING), estimates)
    if taken is None:
        return ["no rate yet: it takes two finished shards"]
    return [f"{duration(3600 * taken)} of jobs expected; no rate yet: it takes two finished shards"]


def _failures(config: Config, found: Survey) -> list[Text]:
    """The failed shards and words with their reasons, and what ended without a word."""
    lines: list[Text] = []
    store = WordStore(config.folder / "words")
    for state in found.states:
        if state.standing == FAILED and state.last is not None:
            log = f"  log: {state.last.log}" if state.last.log else ""
            lines.append(_line("failed", "red", f"{state.shard.key}: {state.last.reason}{log}"))
        elif state.failed_words:
            for cell in state.shard.cells:
                if failure := store.failure(cell):
                    reason = f"{cell.key}: step {failure.step}: {failure.reason}"
                    lines.append(_line("failed", "red", reason))
    ended = [state for state in found.states if interrupted(state)]
    asked = ended[: max(0, MOST_FAILURES - len(lines))]
    said = scheduler.ended([s.last.job for s in asked if s.last and s.last.job])
    for state in ended:
        last = state.last
        assert last is not None
        how = said.get(last.job or "", "ended without a word")
        log = f"  log: {last.log}" if last.log else ""
        what = (
            f"{state.shard.key}: job {last.job or '-'} on {last.host} "
            f"{how}; action=resume goes on from its checkpoint{log}"
        )
        lines.append(_line("interrupted", "yellow", what))
    lines += _silent(config.folder, found)
    more = len(lines) - MOST_FAILURES
    return lines[:MOST_FAILURES] + ([Text(f"... and {more} more")] if more > 0 else [])


def _line(what: str, style: str, text: str) -> Text:
    return Text.assemble((what, style), f" {text}")


def _silent(folder: Path, found: Survey) -> list[Text]:
    """Shards whose job left the queue and never wrote anything here."""
    if not found.answered:
        return []
    sent = sent_to_slurm(folder)
    silent = [s for s in found.states if s.standing == MISSING and s.last is None]
    silent = [s for s in silent if s.shard.key in sent]
    if not silent:
        return []
    what = (
        f"{silent[0].shard.key} and {len(silent) - 1} more: their jobs left "
        f"the queue and wrote nothing under {folder}. Do the nodes share this folder? Jobs that "
        "were cancelled while they waited look the same; action=resume submits them again."
    )
    return [_line("never begun", "yellow", what)]

"""action=submit, resume, retry and cancel: from shards to jobs."""

import os
import pickle
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from vwtransfer.cluster import claims, history, local, scheduler
from vwtransfer.cluster.archive import restore
from vwtransfer.cluster.arrays import send
from vwtransfer.cluster.plan import print_plan
from vwtransfer.cluster.status import submitted
from vwtransfer.cluster.status_table import terminal
from vwtransfer.cluster.submissions import refuse_other_shards, write_submission
from vwtransfer.cluster.survey import (
    FAILED,
    MISSING,
    State,
    Survey,
    settled,
    survey,
)
from vwtransfer.cluster.worker import Work, look_at_datasets
from vwtransfer.config import Config, provenance
from vwtransfer.config.composition import plain
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically
from vwtransfer.models.devices import torch_device
from vwtransfer.models.suite import build
from vwtransfer.words.store import WordStore

PATIENCE = 120.0  # seconds to wait for another submission of the same study


def submit(config: Config) -> None:
    """action=submit and action=resume: has what is missing done, and returns at once.

    Raises:
        UserError: there is no scheduler, it refuses, or the study's folder is another's.
    """
    _submit(config, again=False)


def retry(config: Config) -> None:
    """action=retry: the same for what has failed, with the resources of this config."""
    _submit(config, again=True)


def cancel(config: Config) -> None:
    """action=cancel: ends this user's jobs of this study and no others; what is finished is kept.

    Raises:
        UserError: SLURM refuses, or does not answer.
    """
    config = submitted(config)
    console = terminal()
    found = survey(config)
    mine = [entry.job for entry in found.entries if entry.user == scheduler.current_user()]
    refusals = scheduler.cancel(mine)
    records = (config.folder / "cluster" / "submissions").glob("*/controllers.json")
    processes = sum(local.cancel(path) for path in records)
    console.print(f"cancelled: {len(mine)} jobs, {processes} local processes")
    if refusals:
        raise UserError(f"scancel refuses: {'; '.join(refusals)}")
    if others := sorted({entry.user for entry in found.entries} - {scheduler.current_user()}):
        console.print(f"jobs of {', '.join(others)} go on: theirs to cancel", style="yellow")
    if not found.answered and scheduler.is_here():
        raise UserError("squeue does not answer, so that jobs may be left; try again later.")


def _submit(config: Config, again: bool) -> None:
    console = terminal()
    slurm_here = scheduler.is_here()
    if config.cluster.executor == "slurm" and not slurm_here and not config.submit.dry_run:
        raise UserError(
            "cluster.executor=slurm: there is no sbatch on this machine's PATH. Submit from a "
            "login node of the cluster, or run the study in processes of this machine with "
            "cluster=local."
        )
    provenance.claim(config)
    look_at_datasets(config, build(config, torch_device("cpu")), console)
    path = config.folder / "cluster" / "submitting.json"
    claim = claims.wait_for(path, config.cluster.heartbeat_timeout_s, PATIENCE)
    if claim is None:
        owner = claims.owner_of(path)
        who = f" ({owner})" if owner else ""
        raise UserError(f"{path}: another submission of this study is under way{who}.")
    with claim:
        if line := restore(config):
            console.print(line)
        found = survey(config)
        if found.busy:
            refuse_other_shards(config)
        chosen = _failed(config, found) if again else found.standing(MISSING)
        print_plan(config, found, chosen, console)
        if not chosen:
            console.print("nothing to submit" + _why_not(found, again))
            return
        if again and not config.submit.dry_run:
            _forget(config, chosen)
        keys = [state.shard.key for state in chosen]
        if config.cluster.executor == "local":
            folder = _start_here(config, keys, console)
        else:
            folder = send(config, keys, console)
        if folder is not None:
            _say_how_to_go_on(config, folder, console)


def _failed(config: Config, found: Survey) -> list[State]:
    """Shards that failed, or of whose words some did."""
    idle = [s for s in found.states if s.owner is None and s.entry is None and not s.waits]
    return [s for s in idle if s.standing == FAILED or s.failed_words]


def _forget(config: Config, chosen: Sequence[State]) -> None:
    """Makes failed words and shards missing ones again."""
    store = WordStore(config.folder / "words")
    for state in chosen:
        trained, _ = settled(config.folder, state.shard)
        for cell, end in zip(state.shard.cells, state.shard.ends, strict=True):
            if end not in trained:
                store.forget_failure(cell)
        entry = history.event(history.AGAIN, time.monotonic(), len(trained))
        history.record(config.folder, state.shard, entry)


def _why_not(found: Survey, again: bool) -> str:
    words = found.words
    said = [f"{words[name]:,} {name}" for name in words if words[name]]
    hint = "" if again or not words[FAILED] else "; action=retry has the failed ones tried again"
    return f": words are {', '.join(said)}{hint}"


def _start_here(config: Config, keys: Sequence[str], console: Console) -> Path | None:
    """Starts processes that each go through all shards and do what no other does."""
    count = min(config.cluster.max_running_jobs, len(keys))
    orders = [(*keys[i:], *keys[:i]) for i in range(count)]
    if config.submit.dry_run:
        console.print(f"processes that would share the shards: {count}; nothing was started")
        return None
    folder = write_submission(config, [orders])
    order = {
        "jobs": [Work(plain(config), each, tuple(sys.argv)) for each in orders],
        "minutes": config.cluster.hours * 60,
        "signal_delay_s": config.cluster.signal_delay_s,
        "max_num_timeout": config.cluster.max_num_timeout,
        "gpus": _gpus() if config.cluster.gpus else [],
        "setup": list(config.cluster.setup),
    }
    write_atomically(folder / "order.pickle", lambda path: path.write_bytes(pickle.dumps(order)))
    with (folder / "start.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "vwtransfer.cluster.local", str(folder.resolve())],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # they outlive the terminal
        )
    console.print(f"processes started: {count}; detached, they share the shards")
    return folder


def _gpus() -> list[int]:
    """The numbers of the GPUs that this process may use, which CUDA_VISIBLE_DEVICES may choose."""
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    chosen = [int(number) for number in given if number.strip().isdigit()]
    return chosen[:count] or list(range(count))


def _say_how_to_go_on(config: Config, folder: Path, console: Console) -> None:
    """The commands that follow; the first two go by the config that was just kept."""
    own = [a for a in sys.argv[1:] if not a.startswith(("action=", "submit.", "status."))]
    for what, words in (
        ("watch", f"{config.command} action=status status.watch=true"),
        ("cancel", f"{config.command} action=cancel"),
        ("resume", shlex.join(["vwtransfer", *own, "action=resume"])),
        ("retry", "the same with action=retry, for what failed"),
        ("logs", str(folder / "jobs")),
    ):
        console.print(f"{what + ':':8}{words}", markup=False)

"""action=submit, resume, retry and cancel: from shards to jobs."""

import getpass
import os
import pickle
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import submitit
import torch
import yaml
from rich.console import Console
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm import slurm

from vwtransfer import material
from vwtransfer.cluster import claims, history, local, scheduler
from vwtransfer.cluster.keep import restore
from vwtransfer.cluster.plan import print_plan
from vwtransfer.cluster.shown import terminal
from vwtransfer.cluster.status import submitted
from vwtransfer.cluster.survey import (
    FAILED,
    MISSING,
    State,
    Survey,
    settled,
    survey,
    write_left_out,
)
from vwtransfer.cluster.worker import Work, plain
from vwtransfer.config import Config, provenance
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically, write_json, write_text
from vwtransfer.models.devices import torch_device
from vwtransfer.suite import build
from vwtransfer.words import WordStore

PATIENCE = 120.0  # seconds to wait for another submission of the same study


@dataclass(frozen=True)
class Array:
    """A job array.

    Attributes:
        jobs: for each, the keys of its shards.
        running: how many of the jobs run at once.
    """

    jobs: tuple[tuple[str, ...], ...]
    running: int


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
    """action=cancel: ends the jobs of this study and no others; what is finished is kept.

    Raises:
        UserError: SLURM refuses, or does not answer.
    """
    config = submitted(config)
    console = terminal()
    found = survey(config)
    try:
        scheduler.cancel([entry.job for entry in found.entries])
    except subprocess.CalledProcessError as error:
        raise UserError(f"scancel refuses: {error.stderr.strip()}") from error
    records = (config.folder / "cluster" / "submissions").glob("*/controllers.json")
    processes = sum(local.cancel(path) for path in records)
    console.print(f"cancelled: {len(found.entries)} jobs, {processes} local processes")
    if not found.answered and scheduler.is_here():
        raise UserError("squeue does not answer, so that jobs may be left; try again later.")


def arrays(
    keys: Sequence[str], running: int, queued: int | None, array_size: int | None
) -> list[Array]:
    """Spreads shards over job arrays.

    A job does one shard, or several where the cluster takes fewer jobs than there are shards.

    Args:
        keys: of the shards.
        running: jobs that run at once, over all arrays.
        queued: jobs at most; None: any number.
        array_size: jobs of an array at most; None: any number.
    """
    most = array_size or len(keys)
    count = min(len(keys), queued or len(keys), running * most)
    jobs = [tuple(keys[start::count]) for start in range(count)]
    number = -(-count // most)
    found = []
    for i in range(number):
        share = running // number + (i < running % number)
        found.append(Array(tuple(jobs[i::number]), share))
    return found


def _submit(config: Config, again: bool) -> None:
    console = terminal()
    slurm_here = scheduler.is_here()
    if config.cluster.executor == "slurm" and not slurm_here and not config.submit.dry_run:
        raise UserError(
            "cluster.executor=slurm: there is no sbatch on this machine's PATH. Submit from a "
            "login node of the cluster, or run the study in processes of this machine with "
            "cluster=local."
        )
    provenance.save(config)
    _look_at_datasets(config, console)
    path = config.folder / "cluster" / "submitting.json"
    claim = claims.wait_for(path, config.cluster.claim_seconds, PATIENCE)
    if claim is None:
        owner = claims.owner_of(path)
        who = f" ({owner.host}, process {owner.pid}, since {owner.since})" if owner else ""
        raise UserError(f"{path}: another submission of this study is under way{who}.")
    with claim:
        if line := restore(config):
            console.print(line)
        found = survey(config)
        chosen = _failed(config, found) if again else found.standing(MISSING)
        print_plan(config, found, chosen, console)
        if not chosen:
            console.print("nothing to submit" + _why_not(found, again))
            return
        if again and not config.submit.dry_run:
            _forget(config, chosen)
        keys = [state.shard.key for state in chosen]
        if config.cluster.executor == "local":
            _start_here(config, keys, console)
        else:
            _send(config, keys, console)


def _look_at_datasets(config: Config, console: Console) -> None:
    """Opens the datasets once, so that jobs find the choice of images made."""
    suite, datasets = build(config, torch_device("cpu")), material.opened(config)
    for line in [*material.left_out(suite.tasks, datasets), *material.shortages(datasets)]:
        console.print(line, style="yellow")
    pairs = [(task, dataset) for task in suite.tasks.values() for dataset in datasets.values()]
    write_left_out(
        config.folder,
        [(task.name, data.name) for task, data in pairs if not material.trains(task, data)],
        [(task.name, data.name) for task, data in pairs if not material.measures(task, data)],
    )


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


def _write_submission(config: Config, found: Sequence[Array]) -> Path:
    """What every later look at the queue goes by; there before the first job is."""
    folder = config.folder / "cluster" / "submissions" / os.urandom(4).hex()
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "command": shlex.join(sys.argv),
        "executor": config.cluster.executor,
        "arrays": [[list(keys) for keys in array.jobs] for array in found],
    }
    write_json(folder / "shards.json", record)
    text = yaml.safe_dump(plain(config), sort_keys=False)
    write_text(config.folder / "cluster" / "config.yaml", text)
    return folder


def _send(config: Config, keys: Sequence[str], console: Console) -> None:
    """Submits through submitit to SLURM, or writes down what would be."""
    found = arrays(keys, config.cluster.running, _room(config), _array_size(config))
    if config.submit.dry_run:
        _write_scripts(config, found, console)
        return
    folder = _write_submission(config, found)
    for number, array in enumerate(found):
        with _refusals_explained():
            executor = submitit.SlurmExecutor(
                _jobs(folder), config.cluster.restarts, python=_python()
            )
            executor.update_parameters(**_parameters(config, folder, number, array))
            with executor.batch():
                jobs = [executor.submit(Work(plain(config), shards)) for shards in array.jobs]
        console.print(
            f"submitted job {jobs[0].job_id.partition('_')[0]}: {len(array.jobs)} tasks, at most "
            f"{min(array.running, len(array.jobs))} at once",
        )
    _say_how_to_go_on(config, folder, console)


def _start_here(config: Config, keys: Sequence[str], console: Console) -> None:
    """Starts processes that each go through all shards and do what no other does."""
    count = min(config.cluster.running, len(keys))
    orders = [(*keys[i:], *keys[:i]) for i in range(count)]
    if config.submit.dry_run:
        console.print(f"processes that would share the shards: {count}; nothing was started")
        return
    folder = _write_submission(config, [Array(tuple(orders), count)])
    order = {
        "jobs": [Work(plain(config), keys) for keys in orders],
        "minutes": config.cluster.hours * 60,
        "signal_seconds": config.cluster.signal_seconds,
        "restarts": config.cluster.restarts,
        "gpus": torch.cuda.device_count() if config.cluster.gpus else 0,
        "setup": list(config.cluster.setup),
    }
    write_atomically(folder / "order.pickle", lambda path: _pickle(order, path))
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
    _say_how_to_go_on(config, folder, console)


def _pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def _jobs(folder: Path) -> Path:
    """Where submitit keeps scripts, pickles and logs of a submission."""
    return folder.resolve() / "jobs"


def _python() -> str:
    """This Python, which the signal ahead of a job's end does not kill while it still starts."""
    return f"env --ignore-signal=USR2 {shlex.quote(sys.executable)}"


def _parameters(config: Config, folder: Path, number: int, array: Array) -> dict[str, Any]:
    """What submitit is told of an array. The jobs' name is how they are found again."""
    cluster = config.cluster
    given = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "gpus_per_node": cluster.gpus or None,
        "mem": None if cluster.memory_gb is None else f"{cluster.memory_gb * 1024:.0f}MB",
        "setup": list(cluster.setup) or None,
    }
    return {
        "job_name": f"{config.name}.{folder.name}.{number}",
        "time": max(1, round(cluster.hours * 60)),
        "cpus_per_task": cluster.cpus,
        "signal_delay_s": cluster.signal_seconds,
        "array_parallelism": array.running,
        "additional_parameters": {"requeue": True, **(cluster.sbatch or {})},
        **{name: value for name, value in given.items() if value is not None},
    }


def _write_scripts(config: Config, found: Sequence[Array], console: Console) -> None:
    """The sbatch file of each array, as submitit would write it."""
    folder = config.folder / "cluster" / "dry_run"
    for number, array in enumerate(found):
        parameters = _parameters(config, folder, number, array)
        if len(array.jobs) > 1:
            parameters["map_count"] = len(array.jobs)
        command = f"{_python()} -u -m submitit.core._submit {shlex.quote(str(_jobs(folder)))}"
        text = slurm._make_sbatch_string(command=command, folder=_jobs(folder), **parameters)
        path = folder / f"array-{number}.sh"
        write_text(path, text)
        console.print(f"{path}: {len(array.jobs)} tasks; nothing was submitted")


def _room(config: Config) -> int | None:
    """How many jobs this user may add to the queue; None: any number."""
    if config.cluster.queued is not None:
        return config.cluster.queued
    limit = scheduler.submit_limit(config.cluster.account, config.cluster.partition)
    if limit is None:
        return None
    room = limit - len(scheduler.queue() or ())
    if room < 1:
        raise UserError(
            f"you have {limit} jobs in the queue, as many as this cluster takes of you; submit "
            "again when some are done."
        )
    return room


def _array_size(config: Config) -> int | None:
    known = scheduler.max_array_size()
    sizes = [size for size in (config.cluster.array_size, known) if size is not None]
    return min(sizes, default=None)


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """What SLURM or submitit says against a submission, in one line."""
    try:
        yield
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line for line in str(error).splitlines() if "sbatch: error" in line]
        reason = "; ".join(line.split("error:", 1)[1].strip() for line in said) or str(error)
        raise UserError(f"SLURM refuses the job: {reason} (see the keys of cluster).") from error
    except ValueError as error:
        raise UserError(f"cluster.sbatch: {error}") from error


def _say_how_to_go_on(config: Config, folder: Path, console: Console) -> None:
    """The commands that follow; the first two go by the config that was just kept."""
    place = [] if config.outputs == Path("outputs") else [f"outputs={config.outputs}"]
    named = ["vwtransfer", f"name={config.name}", *place]
    own = [a for a in sys.argv[1:] if not a.startswith(("action=", "submit.", "status."))]
    for what, words in (
        ("watch", shlex.join([*named, "action=status", "status.watch=true"])),
        ("cancel", shlex.join([*named, "action=cancel"])),
        ("resume", shlex.join(["vwtransfer", *own, "action=resume"])),
        ("retry", "the same with action=retry, for what failed"),
        ("logs", str(folder / "jobs")),
    ):
        console.print(f"{what + ':':8}{words}", markup=False)

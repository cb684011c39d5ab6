"""From shards to SLURM's job arrays, through submitit."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from rich.console import Console
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm import slurm

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.submissions import write_submission
from vwtransfer.cluster.worker import Work
from vwtransfer.config import Config
from vwtransfer.config.composition import plain
from vwtransfer.errors import UserError
from vwtransfer.files import write_text


@dataclass(frozen=True)
class Array:
    """A job array.

    Attributes:
        jobs: for each, the keys of its shards.
        running: how many of the jobs run at once.
    """

    jobs: tuple[tuple[str, ...], ...]
    running: int


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


def send(config: Config, keys: Sequence[str], console: Console) -> Path | None:
    """Submits shards through submitit to SLURM, or writes down what would be.

    Returns:
        The folder of the submission, if there was one.

    Raises:
        UserError: SLURM refuses, the user's jobs are as many as it takes, or the study's path
            holds a %.
    """
    if "%" in str(config.folder.resolve()):
        raise UserError(
            f"{config.folder.resolve()}: SLURM reads % in the paths of logs as a pattern. Choose "
            "another place with outputs=FOLDER."
        )
    found = arrays(keys, config.cluster.max_running_jobs, _room(config), _array_size(config))
    if config.submit.dry_run:
        _write_scripts(config, found, console)
        return None
    folder = write_submission(config, [array.jobs for array in found])
    for number, array in enumerate(found):
        with _refusals_explained(), _without_record(folder, taken=number > 0):
            executor = submitit.SlurmExecutor(
                _jobs(folder), config.cluster.max_num_timeout, python=_python()
            )
            executor.update_parameters(**_parameters(config, folder, number, array))
            with executor.batch():
                jobs = [
                    executor.submit(Work(plain(config), each, tuple(sys.argv)))
                    for each in array.jobs
                ]
        console.print(
            f"submitted job {jobs[0].job_id.partition('_')[0]}: {len(array.jobs)} tasks, at most "
            f"{min(array.running, len(array.jobs))} at once",
        )
    return folder


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
        "signal_delay_s": cluster.signal_delay_s,
        "array_parallelism": array.running,
        "additional_parameters": {"requeue": True, **(cluster.additional_parameters or {})},
        **{name: value for name, value in given.items() if value is not None},
    }


def _jobs(folder: Path) -> Path:
    """Where submitit keeps scripts, pickles and logs of a submission."""
    return folder.resolve() / "jobs"


def _python() -> str:
    """This Python, which the signal ahead of a job's end does not kill while it still starts."""
    return f"env --ignore-signal=USR2 {shlex.quote(sys.executable)}"


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
def _without_record(folder: Path, taken: bool) -> Iterator[None]:
    """Takes back the record of a submission that is refused before SLURM has taken any of it."""
    try:
        yield
    except Exception:
        if not taken:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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
        raise UserError(f"cluster.additional_parameters: {error}") from error

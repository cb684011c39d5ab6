"""What was submitted: which shards the jobs of each submission do."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from vwtransfer.cluster.local import alive_controllers
from vwtransfer.cluster.scheduler import Entry, current_user
from vwtransfer.config import Config
from vwtransfer.config.composition import plain
from vwtransfer.config.saved import read_config
from vwtransfer.errors import UserError
from vwtransfer.files import damaged, read_json, write_json, write_text


def write_submission(config: Config, arrays: Sequence[Sequence[Sequence[str]]]) -> Path:
    """What every later look at the queue goes by; there before the first job is.

    Args:
        config: of the study.
        arrays: for each job of each array the keys of its shards.

    Returns:
        The folder of the submission.
    """
    folder = config.folder / "cluster" / "submissions" / os.urandom(4).hex()
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": current_user(),
        "command": shlex.join(sys.argv),
        "executor": config.cluster.executor,
        "arrays": [[list(keys) for keys in jobs] for jobs in arrays],
    }
    write_json(folder / "shards.json", record)
    text = yaml.safe_dump(plain(config), sort_keys=False)
    write_text(config.folder / "cluster" / "config.yaml", text)
    return folder


def refuse_other_shards(config: Config) -> None:
    """Two ways of cutting a study into shards may not be at work at once: claims are by shard.

    Raises:
        UserError: the latest submission cut it otherwise.
    """
    path = config.folder / "cluster" / "config.yaml"
    if not path.is_file():
        return
    former = read_config(path).submit.words_per_shard
    if former != config.submit.words_per_shard:
        raise UserError(
            f"submit.words_per_shard={config.submit.words_per_shard}: jobs of this study wait "
            f"or run with {former}. Keep that, or end them first with action=cancel."
        )


def jobs_of(folder: Path, entries: Iterable[Entry]) -> tuple[list[Entry], dict[str, Entry]]:
    """This study's jobs of the queue, and by a shard's key the job that does it."""
    known = _arrays(folder)
    mine = [entry for entry in entries if _place(entry) in known]
    by_shard = {key: entry for entry in mine for key in _shards_of(entry, known[_place(entry)])}
    return mine, by_shard


def submitters(folder: Path) -> set[str]:
    """Who submitted jobs of this study."""
    records = (folder / "cluster" / "submissions").glob("*/shards.json")
    return {_record(path)["by"] for path in records}


def sent_to_slurm(folder: Path) -> set[str]:
    """Keys of all shards that were ever submitted to SLURM."""
    arrays = _arrays(folder).values()
    return {key for jobs in arrays for keys in jobs for key in keys}


def waiting_here(folder: Path) -> set[str]:
    """Keys of shards that processes of this machine are to come to."""
    found: set[str] = set()
    for path in (folder / "cluster" / "submissions").glob("*/controllers.json"):
        if alive_controllers(path):
            record = _record(path.parent / "shards.json")
            found.update(key for jobs in record["arrays"] for keys in jobs for key in keys)
    return found


def _arrays(folder: Path) -> dict[str, list[list[str]]]:
    """<submission>.<array> of SLURM -> for each of its jobs the keys of its shards."""
    found = {}
    for path in (folder / "cluster" / "submissions").glob("*/shards.json"):
        record = _record(path)
        if record["executor"] == "slurm":
            for number, jobs in enumerate(record["arrays"]):
                found[f"{path.parent.name}.{number}"] = jobs
    return found


def _record(path: Path) -> dict[str, Any]:
    """What `write_submission` wrote.

    Raises:
        UserError: it is damaged.
    """
    record = read_json(path)
    try:
        keys = [key for jobs in record["arrays"] for keys in jobs for key in keys]
        whole = all(isinstance(each, str) for each in (record["by"], record["executor"], *keys))
    except (TypeError, LookupError):
        whole = False
    if not whole:
        raise damaged(path, "it says of no submission what its jobs do")
    return dict(record)


def _place(entry: Entry) -> str:
    """The submission and array of a job: the end of its name."""
    return ".".join(entry.name.rsplit(".", 2)[-2:])


def _shards_of(entry: Entry, jobs: list[list[str]]) -> list[str]:
    number = int(entry.job.partition("_")[2] or 0)
    return jobs[number] if number < len(jobs) else []

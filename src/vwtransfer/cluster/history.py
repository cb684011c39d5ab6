"""What became of each shard: a file of lines that its jobs add to, the latest last."""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from vwtransfer.cluster.claims import current_job
from vwtransfer.cluster.shards import Shard
from vwtransfer.files import check_place, explained

STARTED, STOPPED, FAILED, FINISHED, AGAIN = "started", "stopped", "failed", "finished", "again"


@dataclass(frozen=True)
class Event:
    """A line.

    Attributes:
        what: STARTED, STOPPED (by a signal; goes on later), FAILED, FINISHED, or AGAIN (a person
            asked for a failed shard to be tried again).
        time: when.
        seconds: that this process worked on the shard.
        words: finished words of the shard by then.
        reason: of what went wrong.
        host, job, restart: who wrote it; `restart` counts how often the scheduler started the job.
        log: the file that tells more.
    """

    what: str
    time: str
    seconds: float
    words: int
    reason: str
    host: str
    job: str | None
    restart: int
    log: str | None


def event(what: str, began: float, words: int = 0, reason: str = "") -> Event:
    """An event of this process; `began` is its time.monotonic() at the shard's start."""
    return Event(
        what=what,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 3),
        words=words,
        reason=reason,
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        job=current_job(),
        restart=int(os.environ.get("SLURM_RESTART_COUNT", 0)),
        log=_log(),
    )


def record(folder: Path, shard: Shard, entry: Event) -> None:
    """Adds a line to the shard's history under the study's `folder`.

    Raises:
        UserError: the disk is full or the folder may not be written to.
    """
    path = history_path(folder, shard)
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(entry)) + "\n"
        with path.open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut_off = file.read() not in (b"", b"\n")
            file.write((("\n" if cut_off else "") + line).encode())
    except OSError as error:
        if mendable := explained(error, path):
            raise mendable from error
        raise


def history(folder: Path, shard: Shard) -> list[Event]:
    """All that was recorded; a line that was cut off is left out."""
    path = history_path(folder, shard)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Event(**json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            continue
    return found


def history_path(folder: Path, shard: Shard) -> Path:
    """The file of a shard's history."""
    return folder / "cluster" / "history" / f"{shard.file_name}.jsonl"


def _log() -> str | None:
    """What this job prints goes there, where submitit started it."""
    folder, executor = os.environ.get("SUBMITIT_FOLDER"), os.environ.get("SUBMITIT_EXECUTOR")
    job = current_job() if executor == "slurm" else os.environ.get("SUBMITIT_LOCAL_JOB_ID")
    return f"{folder}/{job}_0_log.err" if folder and job else None

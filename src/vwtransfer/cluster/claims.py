"""Who works on what: a file that one process at a time owns, with a heartbeat.

A claim whose owner gives no sign of life may be taken over. An owner that was only slow, or cut
off, finds that out and stops; until then both may work, which harms nothing: the first whole
result stands.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from vwtransfer.cluster.scheduler import current_user
from vwtransfer.errors import UserError
from vwtransfer.files import write_once, write_text

BEATS = 6  # heartbeats within the time after which a claim expires
CLOCK_SET = 10.0  # seconds by which a machine's clock may be set while a process runs


@dataclass(frozen=True)
class Owner:
    """A process that holds, or held, a claim.

    Attributes:
        host, pid, began: the process; `began` tells it from a later one of the same number.
        job: the scheduler's name of its job, such as 12_3; None outside of one.
        since: when it took the claim.
        token: of this claim alone.
        user: whose process it is.
        cluster: the SLURM cluster of its job.
        restart: how often that cluster had started the job again.
    """

    host: str
    pid: int
    began: float
    job: str | None
    since: str
    token: str
    user: str = ""
    cluster: str = ""
    restart: int = 0

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


UNKNOWN = Owner(host="?", pid=0, began=0.0, job=None, since="?", token="")
"""Who holds a claim that cannot be read."""


def current_job() -> str | None:
    """The SLURM job this process is part of, as squeue names it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


class Claim:
    """A claim that this process holds; leaving its context gives it up."""

    def __init__(self, path: Path, owner: Owner, expires: float) -> None:
        self.path = path
        self.owner = owner
        self._interval = expires / BEATS
        self._released = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another process has taken it over."""
        return self._lost.is_set()

    def __enter__(self) -> "Claim":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # where the file server is away, it expires
            if owner_of(self.path) == self.owner:
                self.path.unlink(missing_ok=True)
            else:
                self._lost.set()

    def _beat(self) -> None:
        while not self._released.wait(self._interval):
            try:
                if owner_of(self.path) != self.owner:
                    self._lost.set()
                    return
                os.utime(self.path)
            except OSError:
                continue  # a file server that is away for a while


def take(
    path: Path, expires: float, job_is_gone: Callable[[str], bool] = lambda job: False
) -> Claim | None:
    """The claim on `path`, if nobody holds it or who held it is dead.

    Args:
        path: its file; missing folders are made.
        expires: seconds without a heartbeat after which an owner counts as dead.
        job_is_gone: whether the scheduler knows nothing of a job of this user any more.

    Raises:
        UserError: the disk is full or the folder may not be written to.
    """
    process = psutil.Process()
    owner = Owner(
        host=socket.gethostname(),
        pid=process.pid,
        began=process.create_time(),
        job=current_job(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=os.urandom(8).hex(),
        user=current_user(),
        cluster=os.environ.get("SLURM_CLUSTER_NAME", ""),
        restart=int(os.environ.get("SLURM_RESTART_COUNT", 0)),
    )
    former = owner_of(path)
    if former is not None and not _is_dead(path, former, owner, expires, job_is_gone):
        return None
    if former is not None:
        _clear(path, former)
    text = json.dumps(asdict(owner))
    written = write_once(path, lambda temporary: temporary.write_text(text, "utf-8"))
    return Claim(path, owner, expires) if written else None


def owner_of(path: Path) -> Owner | None:
    """Who holds the claim, dead or alive; None where nobody does.

    A claim that the disk has damaged is UNKNOWN's, until it expires.
    """
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for
            return UNKNOWN
        owner = Owner(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        return UNKNOWN
    texts = (owner.host, owner.job or "", owner.since, owner.user, owner.cluster)
    whole = isinstance(owner.pid, int) and isinstance(owner.began, int | float)
    return owner if whole and all(isinstance(each, str) for each in texts) else UNKNOWN


def is_alive(path: Path, owner: Owner, expires: float, now: float) -> bool:
    """Whether the owner still works, as far as can be seen from here."""
    here = (owner.host, owner.user) == (socket.gethostname(), current_user())
    if here and process_of(owner.pid, owner.began) is None:  # others' need not be seen
        return False
    try:
        return now - path.stat().st_mtime < expires
    except FileNotFoundError:
        return False


def abandoned(paths: Sequence[Path], expires: float) -> list[Path]:
    """Those of some claims whose owners died; waits until it is seen of each.

    A living owner gives a sign of life in a BEATS-th of `expires`, a dead one none until then.
    """
    seen = {path: _stamp(path) for path in paths}
    found = []
    while seen:
        for path, before in list(seen.items()):
            owner = owner_of(path)
            if owner is None or _stamp(path) != before:
                del seen[path]
            elif not is_alive(path, owner, expires, clock(path.parent)):
                found.append(path)
                del seen[path]
        if seen:
            time.sleep(min(1.0, expires / BEATS / 4))
    return found


def _stamp(path: Path) -> float | None:
    """When a claim's owner last gave a sign of life; None where there is no claim."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def clock(folder: Path) -> float:
    """The time of the machine that keeps the folder, which is what stamps its files.

    Who cannot write there goes by this machine's.
    """
    probe = folder / f".clock.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        write_text(probe, "")
        return probe.stat().st_mtime
    except (UserError, OSError):
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _is_dead(
    path: Path, former: Owner, me: Owner, expires: float, job_is_gone: Callable[[str], bool]
) -> bool:
    if not is_alive(path, former, expires, clock(path.parent)):
        return True
    # squeue need not show what others run, and knows nothing of another cluster's jobs
    if former.job is None or (former.user, former.cluster) != (me.user, me.cluster):
        return False
    # a job that was started again is the same job; the scheduler has ended what it was before
    return former.restart != me.restart if former.job == me.job else job_is_gone(former.job)


def process_of(pid: int, began: float) -> psutil.Process | None:
    """A process of this machine and user that began then; None where it has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if abs(process.create_time() - began) < CLOCK_SET else None
    except (psutil.Error, ValueError, OverflowError):  # the latter of a number that no process has
        return None


def _clear(path: Path, former: Owner) -> None:
    """Removes the claim of `former`, and of nobody who came in between."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if owner_of(aside) != former:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    aside.unlink()


def wait_for(path: Path, expires: float, patience: float) -> Claim | None:
    """As `take`, but waits up to `patience` seconds for another owner to be done."""
    deadline = time.monotonic() + patience
    while (claim := take(path, expires)) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return claim

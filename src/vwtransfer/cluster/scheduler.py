"""What SLURM is asked, through its own commands; an answer it does not give is None."""

import getpass
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PATIENCE = 30  # seconds for an answer
RUNNING = {"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SIGNALING"}
UNITS = 500  # job ids in one command line


@dataclass(frozen=True)
class Entry:
    """A job in the queue.

    Attributes:
        job: as 12_3 for a task of an array.
        name: the job's.
        state: as squeue has it: PENDING, RUNNING, ...
        reason: why it waits.
        node: where it runs.
        user: whose it is.
    """

    job: str
    name: str
    state: str
    reason: str
    node: str
    user: str

    @property
    def runs(self) -> bool:
        """Whether it has a node; else it waits."""
        return self.state in RUNNING


def current_user() -> str:
    """Whose this process is: a name, or the number of a user that has none, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def is_here() -> bool:
    """Whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def queue(users: Iterable[str] = ()) -> list[Entry] | None:
    """Jobs of this user and others that wait or run, each task of an array on its own."""
    me = str(os.getuid())
    whose = {me, *users}
    # where one user has no name here, squeue shows no job of any of them
    only = ("--user", ",".join(sorted(whose))) if all(map(_is_named, whose)) else ()
    form = "%i|%T|%r|%N|%U|%u|%j"
    text = _ask("squeue", "--noheader", "--array", *only, "--format", form)
    if text is None:
        return None
    entries = []
    for line in text.splitlines():
        job, state, reason, node, number, user, name = line.split("|", 6)
        if number == me:
            user = current_user()
        elif not _is_named(number):  # squeue calls all of these "nobody"
            user = number
        if not whose.isdisjoint((number, user)):
            entries.append(Entry(job, name, state, reason, node, user))
    return entries


def _is_named(user: str) -> bool:
    """Whether this machine knows a user, who is given by name or number."""
    try:
        pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return False
    return True


def is_gone(job: str) -> bool:
    """Whether the scheduler answers, and no longer has this user's job in its queue."""
    entries = queue()
    return entries is not None and all(entry.job != job for entry in entries)


def max_array_size() -> int | None:
    """How many tasks a job array may have."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.M)
    return int(found[1]) if found else None


def submit_limit(account: str | None, partition: str | None) -> int | None:
    """How many jobs this user may have in the queue; None where that is unlimited or not known."""
    shown = "format=Account,Partition,MaxSubmitJobs,GrpSubmitJobs"
    asked = "show", "associations", f"user={current_user()}", shown
    text = _ask("sacctmgr", "--noheader", "--parsable2", *asked)
    limits = []
    for line in (text or "").splitlines():
        its_account, its_partition, *numbers = line.split("|")
        if account in (None, its_account) and its_partition in ("", partition):
            limits += [int(number) for number in numbers if number.isdigit()]
    return min(limits, default=None)


def ended(jobs: Sequence[str]) -> dict[str, str]:
    """How these jobs ended, as far as accounting tells: job -> FAILED, TIMEOUT, ..."""
    states = {}
    for start in range(0, len(jobs), UNITS):
        chosen = ",".join(jobs[start : start + UNITS])
        asked = "--allocations", "--duplicates", "--jobs", chosen
        text = _ask(
            "sacct", "--noheader", "--parsable2", *asked, "--format", "JobID,State,ExitCode"
        )
        for line in (text or "").splitlines():
            job, state, code = line.split("|")
            states[job] = state if code == "0:0" else f"{state} (exit code {code})"
    return states


def cancel(jobs: Iterable[str]) -> list[str]:
    """Takes jobs out of the queue, and ends those that run.

    Returns:
        What SLURM says against it.
    """
    chosen, refusals = list(jobs), []
    for start in range(0, len(chosen), UNITS):
        command = ["scancel", *chosen[start : start + UNITS]]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.CalledProcessError as error:
            refusals.append(error.stderr.strip())
        except subprocess.TimeoutExpired:
            refusals.append(f"no answer within {PATIENCE} s")
    return list(dict.fromkeys(refusals))


def _ask(*command: str) -> str | None:
    # a person's own filters for squeue would hide jobs
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PATIENCE, env=plain
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout

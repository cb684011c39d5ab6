"""A study on the test cluster: submitted, watched and hit, as a person or a cluster would."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import torch

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.claims import owner_of
from vwtransfer.cluster.history import Event, history
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.survey import (
    QUEUED,
    RUNNING,
    Survey,
    claim_path,
    settled,
    survey,
)
from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.main import dispatch
from vwtransfer.training.chunks import job_folder
from vwtransfer.words.store import load_word

SCRIPT = Path(__file__).parents[2] / "launch" / "test_cluster.sh"
COMMON = [
    "cluster=test",
    "wandb=off",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "anchor=[zepu,muli]",
    "trainer.checkpoint_every=20",
    "threads=1",
    "progress=false",
]
CONCEPTS = [
    "red_striped_star",
    "red_striped_heart",
    "red_striped_circle",
    "red_striped_cross",
    "red_striped_moon",
    "blue_dotted_star",
]
STEPS = 200
LONG = [
    *COMMON,
    "delta=[0.5,1.0]",
    "task=classification",
    "direction=none",
    "evaluation.baselines=[]",
    "trainer.max_words_in_flight=2",  # so that half of a shard's words are finished when it is hit
    f"model.classification.training.steps={STEPS}",
]
PATIENCE = 600.0  # seconds; costs nothing where all goes well
AT_ONCE = 0.1  # seconds between two looks where a moment counts
LOOKS = 30  # seconds between SLURM's own looks at time limits


@dataclass(frozen=True)
class Study:
    """A study under test: its overrides, and what lies on disk."""

    overrides: tuple[str, ...]

    @cached_property
    def config(self) -> Config:
        return compose(list(self.overrides))

    @cached_property
    def shards(self) -> list[Shard]:
        return shards(self.config)

    @property
    def folder(self) -> Path:
        return self.config.folder

    def command(self, action: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "vwtransfer", *self.overrides, f"action={action}", *more]

    def start(self, action: str, *more: str) -> subprocess.Popen[str]:
        """The action in a process of its own, whose output is thrown away."""
        return subprocess.Popen(self.command(action, *more), stdout=subprocess.DEVNULL, text=True)

    def run(self, action: str, *more: str, check: bool = True) -> str:
        """What the action prints, errors last; in this process, whose libraries are loaded."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                dispatch(compose([*self.overrides, f"action={action}", *more]))
            except UserError as error:
                assert not check, error
                printed.write(str(error))
        return printed.getvalue()

    def survey(self) -> Survey:
        return survey(self.config)

    def history(self, shard: Shard) -> list[Event]:
        return history(self.folder, shard)

    def events(self, shard: Shard) -> list[str]:
        return [event.what for event in self.history(shard)]

    def words(self) -> dict[str, torch.Tensor]:
        """Key -> vectors of every finished word."""
        store = self.folder / "words"
        return {
            path.relative_to(store).as_posix(): load_word(path).vectors_KD
            for path in sorted(store.rglob("*.safetensors"))
        }

    def files(self) -> dict[Path, tuple[int, int]]:
        """Every finished word and part of the results: which file, written when."""
        found = [*self.folder.rglob("words/**/*.safetensors"), *self.folder.glob("results/*")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def is_half_done(self, shard: Shard) -> bool:
        """Whether half of a shard's words are finished, and there is a checkpoint."""
        folder = job_folder(self.folder / "checkpoints", shard.cells)
        finished = len(settled(self.folder, shard)[0])
        return 2 * finished >= len(shard.ends) and any(folder.glob("chunk-*"))

    def is_done(self, shard: Shard) -> bool:
        """Whether all words of a shard are trained."""
        return len(settled(self.folder, shard)[0]) == len(shard.ends)

    def is_finished(self) -> bool:
        """Whether nothing of it runs or waits."""
        return not self.survey().standing(RUNNING, QUEUED)


@dataclass(frozen=True)
class Held:
    """A shard whose process stands still, so that what hits it hits it in the middle."""

    study: Study
    shard: Shard
    process: psutil.Process
    job: str
    node: str

    def release(self) -> None:
        """Lets it go on."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.resume()

    def is_over(self) -> bool:
        """Whether the process has ended."""
        try:
            return self.process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def is_told_to_save(self) -> bool:
        """Whether SLURM's signal ahead of a limit or a preemption waits for it, or woke it."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            masks = [line.split()[1] for line in status.splitlines() if "Pnd:" in line]
            waits = any(int(mask, 16) >> (signal.SIGUSR2 - 1) & 1 for mask in masks)
            return waits or self.process.status() != psutil.STATUS_STOPPED
        except (FileNotFoundError, psutil.NoSuchProcess):
            return True


def hold(study: Study, shard: Shard) -> Held:
    """Holds the process that trains a shard, which must have begun and not be finished."""
    owner = owner_of(claim_path(study.folder, shard))
    assert owner is not None, f"{shard.key} was finished before it could be held"
    assert owner.job is not None
    process = psutil.Process(owner.pid)
    process.suspend()
    assert not study.is_done(shard), f"{shard.key} was finished before it could be held"
    return Held(study, shard, process, owner.job, node_of(study, shard))


def hold_all(*studies: Study) -> list[Held]:
    """Holds every shard of these studies half way."""
    held: dict[tuple[int, str], Held] = {}

    def are_held() -> bool:
        for i, study in enumerate(studies):
            for shard in study.shards:
                if (i, shard.key) not in held and study.is_half_done(shard):
                    held[i, shard.key] = hold(study, shard)
        return len(held) == sum(len(study.shards) for study in studies)

    until("every training", are_held, AT_ONCE)
    return [held[key] for key in sorted(held)]


def until(what: str, done: Callable[[], bool], every: float = 0.5) -> None:
    """Waits for it, asking again after so many seconds, and says what did not come."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(every)


def empty_queue() -> bool:
    """Whether no job waits or runs."""
    return scheduler.queue() == []


def empty_queue_without_delay() -> bool:
    """The same; what SLURM would start again in two minutes, its delay, it starts at once."""
    entries = scheduler.queue()
    for job in [entry.job for entry in entries or [] if entry.reason == "BeginTime"]:
        subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False)
    return entries == []


def node_of(study: Study, shard: Shard) -> str:
    """Where the latest job of a shard ran."""
    return study.history(shard)[-1].host


def kill_node(cluster: Path, node: str) -> None:
    """Kills a node's daemon, and what it had started, as a power cut does."""
    daemons = _daemons(cluster, node)
    work = [child for step in daemons[1:] for child in step.children(recursive=True)]
    for process in (*daemons, *work):  # nobody is left to tell how the work ended
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def unreachable(cluster: Path, node: str) -> Iterator[None]:
    """A node that nobody reaches and SLURM gives up, though what it had started is still there."""
    daemons = _daemons(cluster, node)
    for daemon in daemons:
        daemon.suspend()
    down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=unreachable"]

    def is_down() -> bool:
        subprocess.run(down, check=True)
        time.sleep(1)  # an answer on its way brings a node back
        ask = ["sinfo", "--noheader", f"--nodes={node}", "--format=%T"]
        return "down" in subprocess.run(ask, check=True, capture_output=True, text=True).stdout

    try:
        time.sleep(1)
        until("the node to be given up", is_down)
        yield
    finally:
        for daemon in daemons:
            daemon.resume()
        # refused where the node has come back by itself
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)


def _daemons(cluster: Path, node: str) -> list[psutil.Process]:
    """A node's slurmd, then the one of each step that it runs."""
    steps = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "slurmstepd: [" in " ".join(process.info["cmdline"] or [])
        and _is_on(process, cluster, node)
    ]
    return [psutil.Process(int((cluster / "run" / f"slurmd-{node}.pid").read_text())), *steps]


def _is_on(process: psutil.Process, cluster: Path, node: str) -> bool:
    place = {"SLURM_CONF": str(cluster / "slurm.conf"), "SLURMD_NODENAME": node}
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if place.items() <= child.environ().items():
                return True
    return False


@contextlib.contextmanager
def time_limit(job: str) -> Iterator[None]:
    """A job whose limit comes within a minute and a half; an hour, once it has ended."""
    ask = ["squeue", "--noheader", f"--jobs={job}", "--format=%M"]
    elapsed = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
    *_, minutes, seconds = map(int, elapsed.split(":"))
    limit = minutes + 1 + (seconds + LOOKS >= 60)  # SLURM must look before it comes
    change = ["scontrol", "update", f"jobid={job}"]
    subprocess.run([*change, f"timelimit={limit}"], check=True)
    yield
    subprocess.run([*change, "timelimit=60"], check=True)


def start_node(node: str) -> None:
    subprocess.run(["slurmd", "-N", node], check=True)


@contextlib.contextmanager
def running(folder: Path, accounting: bool = True) -> Iterator[Path]:
    """The cluster, up; one that does not start is an error with its logs."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    environment = {
        **os.environ,
        "ACCOUNTING": "yes" if accounting else "no",
        "FIRST_PORT": str(6817 + 1000 * worker),
    }
    try:
        began = subprocess.run([SCRIPT, "start", folder], env=environment, check=False)
        assert began.returncode == 0, "the test cluster did not start"
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        yield folder
    finally:
        os.environ.pop("SLURM_CONF", None)
        subprocess.run([SCRIPT, "stop", folder], check=True)


def study(folder: Path, name: str, overrides: list[str], *more: str) -> Study:
    return Study((*overrides, f"outputs={folder}", f"name={name}", *more))


def concepts(names: Sequence[str]) -> str:
    return f"concept=[{','.join(names)}]"


def assert_same_bits(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for name, vectors in found.items():
        assert torch.equal(vectors, expected[name]), name

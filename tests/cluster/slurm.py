"""A study on the test cluster: submitted, watched and hit, as a person or a cluster would."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.history import Event, history
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.survey import Survey, claim_path, settled, survey
from vwtransfer.composition import compose
from vwtransfer.config import Config
from vwtransfer.words import load_word

SCRIPT = Path(__file__).parents[2] / "launch" / "test_cluster.sh"
COMMON = [
    "cluster=test",
    "wandb=off",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "evaluation.baselines=[anchor]",
    "trainer.checkpoint_every=20",
    "threads=1",
    "progress=false",
]
PATIENCE = 240.0


@dataclass(frozen=True)
class Study:
    """A study under test: its overrides, and what lies on disk."""

    overrides: tuple[str, ...]

    @property
    def config(self) -> Config:
        return compose(list(self.overrides))

    @property
    def shards(self) -> list[Shard]:
        return shards(self.config)

    @property
    def folder(self) -> Path:
        return self.config.folder

    def command(self, action: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "vwtransfer", *self.overrides, f"action={action}", *more]

    def run(self, action: str, *more: str, check: bool = True) -> str:
        """What the action prints, errors last."""
        done = subprocess.run(
            self.command(action, *more), check=False, capture_output=True, text=True
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

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

    def owner(self, shard: Shard) -> int:
        """The process that works on a shard."""
        from vwtransfer.cluster.claims import owner_of

        owner = owner_of(claim_path(self.folder, shard))
        assert owner is not None
        return owner.pid

    def has_checkpoint(self, shard: Shard) -> bool:
        """Whether a shard's training is under way."""
        from vwtransfer.chunks import job_folder

        folder = job_folder(self.folder / "checkpoints", shard.cells)
        return bool(list(folder.glob("chunk-*"))) and not settled(self.folder, shard)[0]


def until(what: str, done: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Waits for it, and says what did not come."""
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, f"waited {patience:.0f} s for {what}"
        time.sleep(0.2)


def empty_queue() -> bool:
    return scheduler.queue() == []


def job_of(study: Study, shard: Shard) -> str:
    """The scheduler's name of the job that runs a shard."""
    job = study.history(shard)[-1].job
    assert job is not None
    return job


def node_of(study: Study, shard: Shard) -> str:
    return study.history(shard)[-1].host


def kill_node(cluster: Path, node: str) -> None:
    """Kills a node's daemon, and what it had started, as a power cut does."""
    pid = int((cluster / "run" / f"slurmd-{node}.pid").read_text())
    for process in psutil.process_iter(["cmdline"]):
        if "slurmstepd: [" in " ".join(process.info["cmdline"] or []) and _is_on(process, node):
            for child in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
    os.kill(pid, signal.SIGKILL)


def _is_on(process: psutil.Process, node: str) -> bool:
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.environ().get("SLURMD_NODENAME") == node:
                return True
    return False


def start_node(node: str) -> None:
    subprocess.run(["slurmd", "-N", node], check=True)


@contextlib.contextmanager
def running(folder: Path, accounting: bool = True) -> Iterator[Path]:
    """The cluster, up; one that does not start is an error with its logs."""
    environment = {**os.environ, "ACCOUNTING": "yes" if accounting else "no"}
    began = subprocess.run([SCRIPT, "start", folder], env=environment, check=False, text=True)
    assert began.returncode == 0, "the test cluster did not start"
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        yield folder
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
        del os.environ["SLURM_CONF"]

"""Work goes on, and asks nothing, whatever becomes of wandb, its server, its disk or the job."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from jobs import KEY, ROWS, Job, started, until
from servers import HANGS, answering, refusing

from composing import compose
from offline import SMALL, recorded
from vwtransfer.actions.run import run as run_study
from vwtransfer.config import Config
from vwtransfer.tracking.outbox import GRACE_S
from vwtransfer.words.cells import cells
from vwtransfer.words.store import WordStore

ONE = [*SMALL, "concept=red_striped_star", "task=classification", "direction=none"]
LONG = [
    "model.classification.training.steps=1000",
    "trainer.checkpoint_every=20",
    "wandb.log_every_n_steps=10",
]
OFFLINE = {"WANDB_MODE": "offline"}
pytestmark = pytest.mark.integration


def all_is_there(config: Config) -> bool:
    store = WordStore(config.folder / "words")
    whole = all(cell in store for cell in cells(config))
    return whole and (config.folder / "results.parquet").exists()


def run(capsys: pytest.CaptureFixture[str], config: Config) -> str:
    """What a study in this process says of wandb."""
    run_study(config)
    lines = capsys.readouterr().out.splitlines()
    (said,) = [line for line in lines if line.startswith("wandb:")]
    return said


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own for a folder, which exists."""
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    subprocess.run(mounted, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Fills a disk as soon as a run is recorded there."""
    until(lambda: list(folder.glob("offline-run-*/*.wandb")))
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


USELESS = {  # what is said of it
    "is not there": (refusing, "does not answer"),
    "takes connections and says nothing": (lambda: answering(HANGS, HANGS), "does not answer"),
    "is in trouble": (lambda: answering(500, 500), "answers 500"),
    "rejects the key": (lambda: answering(200, 401), "opens no run: .* 401"),
    "forbids the run": (lambda: answering(200, 403), "opens no run: .* 403"),
    "never opens the run": (lambda: answering(200, HANGS), "opens no run: .* deadline"),
}


@pytest.fixture(scope="module")
def at_useless_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Job]]:
    """A job at each, all at the same time."""
    with ExitStack() as stack:
        jobs = {}
        for name, (server, _) in USELESS.items():
            address = {"WANDB_BASE_URL": stack.enter_context(server())}
            jobs[name] = started(tmp_path_factory.mktemp("job"), {**KEY, **address})
        yield jobs


@pytest.mark.parametrize("server", USELESS)
def test_a_server_is_given_up_that(at_useless_servers: dict[str, Job], server: str) -> None:
    job = at_useless_servers[server]
    job.end()
    assert job.outbox.answer["mode"] == "offline"
    assert re.search(USELESS[server][1], job.outbox.answer["why"])
    assert not job.outbox.reason and not job.outbox.lost
    assert job.losses() == list(range(ROWS))
    assert job.longest < 0.1


def test_without_a_key_it_is_offline_and_asks_nothing(tmp_path: Path) -> None:
    job = started(tmp_path, {})
    job.end()
    assert (job.outbox.answer["mode"], job.outbox.answer["why"]) == (
        "offline",
        "there is no API key",
    )
    assert job.losses() == list(range(ROWS))


def test_a_recorder_that_dies_is_noticed_at_once(tmp_path: Path) -> None:
    job = started(tmp_path, OFFLINE)
    job.recorder().kill()
    assert job.end() < GRACE_S
    assert job.outbox.reason == "the recorder died"


def test_a_recorder_that_hangs_costs_no_more_than_its_timeout(tmp_path: Path) -> None:
    job = started(tmp_path, OFFLINE, timeout_s=0)
    recorder = job.recorder()
    recorder.send_signal(signal.SIGSTOP)
    of_wandb = recorder.children(recursive=True)
    assert job.end() < GRACE_S + 1
    for process in of_wandb:
        process.kill()
    assert job.outbox.reason == "no answer within 5 s"
    assert job.longest < 0.1


def test_a_folder_that_wandb_cannot_write_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "wandb").symlink_to("/dev/full")
    job = started(tmp_path, OFFLINE)
    assert job.end() < GRACE_S
    assert "the recorder does not start" in job.outbox.reason
    assert str(tmp_path / "wandb") in job.outbox.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk is for root")
def test_a_disk_that_fills_up_under_wandb_harms_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose([*ONE, f"outputs={tmp_path}"])
    folder = config.folder / "wandb"
    folder.mkdir(parents=True)
    filler = threading.Thread(target=lambda: fill(folder))
    with small_disk(folder, "1M"):
        filler.start()
        said = run(capsys, config)
        filler.join()
        assert os.statvfs(folder).f_bavail == 0
    assert "No space left on device" in said
    assert all_is_there(config)


def test_switched_off_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    config = compose([*ONE, "wandb=off", f"outputs={tmp_path}"])
    run_study(config)
    assert "wandb" not in capsys.readouterr().out
    assert not (config.folder / "wandb").exists()


def test_a_killed_job_goes_on_in_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*ONE, *LONG, f"outputs={tmp_path}"]
    command = [sys.executable, "-m", "vwtransfer", *overrides]
    folder = compose(overrides).folder

    def is_recorded() -> bool:
        assert killed.poll() is None
        return any(found.values("tiny_shapes/tiny_clip/step") for found in recorded(folder))

    with subprocess.Popen(command) as killed:
        until(lambda: list(folder.glob("checkpoints/*/chunk-*")))
        until(is_recorded, every=0.3)
        killed.kill()
    run_study(compose(overrides))
    first, second = recorded(folder)
    assert first.run["run_id"] == second.run["run_id"]
    assert second.exit_code == 0
    assert first.exit_code != 0
    steps = [found.values("tiny_shapes/tiny_clip/step") for found in (first, second)]
    assert steps[1][0] > 1  # from the checkpoint
    assert steps[1][-1] == 1000
    assert {1, *range(10, 1001, 10)} == {*steps[0], *steps[1]}
    moments = [item["_step"] for found in (first, second) for item in found.history]
    assert moments == sorted(set(moments))  # as wandb joins them

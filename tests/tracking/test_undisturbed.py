"""Work goes on, and asks nothing, whatever becomes of wandb, its server, its disk or the job."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from offline import SMALL, recorded

from vwtransfer import study
from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.grid import cells
from vwtransfer.words import WordStore

ONE = [*SMALL, "concept=red_striped_star", "task=classification", "direction=none"]
LONG = ["model.classification.training.steps=1000", "trainer.checkpoint_every=20"]
PATIENCE = 120.0


def all_is_there(config: Config) -> bool:
    store = WordStore(config.folder / "words")
    whole = all(cell in store for cell in cells(config))
    return whole and (config.folder / "results.parquet").exists()


def run(capsys: pytest.CaptureFixture[str], config: Config) -> str:
    """What a study in this process says of wandb."""
    study.run(config)
    lines = capsys.readouterr().out.splitlines()
    (said,) = [line for line in lines if line.startswith("wandb:")]
    return said


def recorder_of(process: psutil.Process) -> psutil.Process:
    """The process that talks to wandb."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in process.children(recursive=True):
            if "vwtransfer.tracking.recorder" in child.cmdline():
                return child
        time.sleep(0.05)
    raise AssertionError("no recorder was started")


def test_a_killed_job_goes_on_in_its_run(tmp_path: Path) -> None:
    overrides = [*ONE, *LONG, f"outputs={tmp_path}"]
    command = [sys.executable, "-m", "vwtransfer", *overrides]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    folder = compose(overrides).folder
    with subprocess.Popen(command, env=environment) as killed:
        deadline = time.monotonic() + PATIENCE
        while not list(folder.glob("checkpoints/*/chunk-*")) or not recorded_steps(folder):
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.5)
        killed.kill()
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
    first, second = recorded(folder)
    assert first.run["run_id"] == second.run["run_id"]
    assert second.exit_code == 0
    assert first.exit_code != 0
    steps = [found.values("tiny_shapes/classification/step") for found in (first, second)]
    assert steps[1][0] > 1  # from the checkpoint
    assert steps[1][-1] == 1000
    assert set(range(1, 1001)) == {*steps[0], *steps[1]}
    moments = [item["_step"] for found in (first, second) for item in found.history]
    assert moments == sorted(set(moments))  # as wandb joins them


def recorded_steps(folder: Path) -> bool:
    found = recorded(folder)
    return bool(found) and bool(found[0].values("tiny_shapes/classification/step"))


def test_without_a_key_it_is_offline_and_asks_nothing(tmp_path: Path) -> None:
    overrides = [*ONE, f"outputs={tmp_path}"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
        "HOME": str(tmp_path),  # no .netrc
    }
    done = subprocess.run(
        [sys.executable, "-m", "vwtransfer", *overrides],
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "wandb: offline (there is no API key)" in done.stdout
    assert all_is_there(compose(overrides))


@pytest.mark.parametrize("listening", [False, True])
def test_a_server_that_does_not_answer_is_given_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    listening: bool,
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    config = compose([*ONE, "wandb.mode=online", "wandb.patience=10", f"outputs={tmp_path}"])
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not listening:
            server.close()
        monkeypatch.setenv("WANDB_BASE_URL", address)
        assert f"offline ({address} does not answer)" in run(capsys, config)
    assert all_is_there(config)
    (found,) = recorded(config.folder)
    assert len(found.values("tiny_shapes/classification/loss_mean")) == 12


def test_a_recorder_that_dies_is_reported_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = compose([*ONE, f"outputs={tmp_path}"])
    killer = threading.Thread(target=lambda: recorder_of(psutil.Process()).kill())
    killer.start()
    said = run(capsys, config)
    killer.join()
    assert "wandb: nothing was recorded" in said
    assert "the work is not affected" in said
    assert all_is_there(config)


def test_a_recorder_that_hangs_costs_no_more_than_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = compose([*ONE, "wandb.patience=0", f"outputs={tmp_path}"])
    stopper = threading.Thread(
        target=lambda: recorder_of(psutil.Process()).send_signal(signal.SIGSTOP)
    )
    stopper.start()
    assert "no answer within 5 s" in run(capsys, config)
    stopper.join()
    assert all_is_there(config)


def test_a_folder_that_wandb_cannot_write_to_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = compose([*ONE, f"outputs={tmp_path}"])
    config.folder.mkdir(parents=True)
    (config.folder / "wandb").symlink_to("/dev/full")
    assert "wandb: nothing was recorded" in run(capsys, config)
    assert all_is_there(config)


def test_switched_off_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    config = compose([*ONE, "wandb=off", f"outputs={tmp_path}"])
    study.run(config)
    assert "wandb" not in capsys.readouterr().out
    assert not (config.folder / "wandb").exists()


def test_words_that_diverge_are_told_with_their_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = compose(
        [*ONE, "model.classification.training.learning_rate=1e30", f"outputs={tmp_path}"]
    )
    study.run(config)
    (found,) = recorded(config.folder)
    store = WordStore(config.folder / "words")
    failures = [failure for cell in cells(config) if (failure := store.failure(cell))]
    assert failures
    assert found.values("progress/failed")[-1] == len(failures)
    rows = {row[0]: row[1] for row in found.table("failures")["data"]}
    assert rows == {failure.cell.key: failure.step for failure in failures}

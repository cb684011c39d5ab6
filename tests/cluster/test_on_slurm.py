"""On a real SLURM cluster: what clusters do to jobs, and that nothing is lost by it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from slurm import (
    COMMON,
    PATIENCE,
    Study,
    empty_queue,
    job_of,
    kill_node,
    node_of,
    running,
    start_node,
    until,
)

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.shards import Shard
from vwtransfer.cluster.survey import DONE, FAILED, MISSING, QUEUED, RUNNING

pytestmark = pytest.mark.cluster

CONCEPTS = [
    "red_striped_star",
    "red_striped_heart",
    "red_striped_circle",
    "red_striped_cross",
    "red_striped_moon",
]
GRID = [
    *COMMON,
    f"concept=[{','.join(CONCEPTS)},blue_dotted_star]",
    "task=[classification,detection]",
    "direction=[classification_to_detection,detection_to_classification]",
    "anchor=[zepu,muli]",
    "delta=[0.5,1.0]",
    "model.classification.training.steps=60",
    "model.detection.training.steps=30",
    "cluster.running=4",
]
LONG = [
    *COMMON,
    f"concept=[{','.join(CONCEPTS)}]",
    "task=classification",
    "direction=none",
    "anchor=[zepu,muli]",
    "delta=[0.5,1.0]",
    "model.classification.training.steps=3000",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("cluster")) as folder:
        yield folder


def study(folder: Path, name: str, overrides: list[str], *more: str) -> Study:
    return Study((*overrides, f"outputs={folder}", f"name={name}", *more))


# the grid, submitted by three processes of which one is killed


@pytest.fixture(scope="module")
def grid(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """12 shards: a submission that is killed half way, then two at once."""
    whole = study(tmp_path_factory.mktemp("outputs"), "grid", GRID)
    killed = subprocess.Popen(whole.command("submit"), stdout=subprocess.PIPE, text=True)
    until("a first array", lambda: any(e.name.startswith("grid.") for e in scheduler.queue() or []))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    both = [subprocess.Popen(whole.command("submit")) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    queued = [entry.job for entry in scheduler.queue() or []]
    assert len(queued) == len(set(queued))
    until("the grid's jobs", empty_queue, 2 * PATIENCE)
    return whole


@pytest.fixture(scope="module")
def alone(grid: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same grid, done by one process without a scheduler."""
    single = study(tmp_path_factory.mktemp("alone"), "grid", GRID)
    single.run("work")
    return single


def test_a_grid_submitted_thrice_at_once_is_done_once(grid: Study) -> None:
    if grid.survey().words[MISSING]:  # tasks whose submitter died before it gave them their work
        grid.run("resume")
        until("the rest", empty_queue)
    found = grid.survey()
    assert len(found.states) == 12
    assert found.words == {DONE: 48, RUNNING: 0, QUEUED: 0, FAILED: 0, MISSING: 0}
    for shard in grid.shards:
        assert grid.events(shard).count("finished") == 1
    assert len({node_of(grid, shard) for shard in grid.shards}) == 4


def test_its_words_are_the_bits_that_one_process_trains(grid: Study, alone: Study) -> None:
    expected, found = alone.words(), grid.words()
    assert list(found) == list(expected)
    assert len(found) == 48
    for name, vectors in found.items():
        assert torch.equal(vectors, expected[name]), name


def test_its_results_are_those_of_one_process(grid: Study, alone: Study) -> None:
    frames = []
    for each in (grid, alone):
        each.run("run")  # puts the parts together: all is there
        frame = pd.read_parquet(each.folder / "results.parquet")
        frames.append(frame.drop(columns="seconds"))
    pd.testing.assert_frame_equal(*frames)
    words = frames[0][frames[0].trained_for.isin(["classification", "detection"])]
    keys = ["concept", "anchor", "delta", "trained_for", "evaluated_on"]
    assert len(words.drop_duplicates(keys)) == 48 * 2


def test_submitting_again_submits_nothing(grid: Study) -> None:
    before = grid.files()
    assert "nothing to submit: words are 48 done" in grid.run("submit")
    assert empty_queue()
    assert grid.files() == before


def test_status_tells_the_same_with_a_glance_at_the_name_alone(grid: Study) -> None:
    named = Study((f"outputs={grid.folder.parent}", "name=grid", "wandb=off"))
    shown = named.run("status")
    assert "classification  tiny_shapes" in shown
    last = next(line for line in shown.splitlines() if line.startswith("all")).split()
    assert last[2:] == ["48", "0", "0", "0", "0", "48"]


def test_a_changed_config_under_the_same_name_is_refused(grid: Study) -> None:
    said = grid.run("submit", "trainer.eps=1e-7", check=False)
    assert "holds another experiment's config: trainer.eps was 1e-08, now 1e-07" in said
    assert empty_queue()


# a shard for each thing that happens to jobs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """What the disturbed shards are to come out as."""
    calm = study(tmp_path_factory.mktemp("calm"), "faults", LONG)
    calm.run("work")
    return calm


@dataclass(frozen=True)
class Battered:
    """A study whose shards were each hit in the middle of their training by something else."""

    study: Study
    by: dict[str, Shard]


@pytest.fixture(scope="module")
def battered(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Battered:
    disturbed = study(tmp_path_factory.mktemp("faults"), "faults", LONG)
    waiting = dict(zip(FAULTS, disturbed.shards, strict=True))
    found = Battered(disturbed, dict(waiting))
    disturbed.run("submit")
    deadline = time.monotonic() + PATIENCE
    while waiting:
        assert time.monotonic() < deadline, f"no checkpoint of {', '.join(waiting)}"
        for fault, shard in list(waiting.items()):
            if disturbed.has_checkpoint(shard):
                del waiting[fault]
                FAULTS[fault](disturbed, shard, cluster)
        time.sleep(0.05)
    until("what is requeued", empty_queue)
    return found


def kill(study: Study, shard: Shard, cluster: Path) -> None:
    os.kill(study.owner(shard), signal.SIGKILL)


def cancel_task(study: Study, shard: Shard, cluster: Path) -> None:
    subprocess.run(["scancel", job_of(study, shard)], check=True)


def requeue(study: Study, shard: Shard, cluster: Path) -> None:
    subprocess.run(["scontrol", "requeue", job_of(study, shard)], check=True)


def preempt(study: Study, shard: Shard, cluster: Path) -> None:
    node = node_of(study, shard)
    wanted = ["--partition=high", f"--nodelist={node}", "--cpus-per-task=8", "--output=/dev/null"]
    subprocess.run(["sbatch", *wanted, "--wrap=sleep 2"], check=True, capture_output=True)


def lose_node(study: Study, shard: Shard, cluster: Path) -> None:
    node = node_of(study, shard)
    kill_node(cluster, node)
    time.sleep(1)
    start_node(node)


FAULTS = {
    "killed": kill,
    "cancelled": cancel_task,
    "requeued": requeue,
    "preempted": preempt,
    "lost": lose_node,
}


def test_what_the_scheduler_starts_again_completes_by_itself(battered: Battered) -> None:
    states = {state.shard.key: state for state in battered.study.survey().states}
    for fault in ("requeued", "preempted", "lost"):
        shard = battered.by[fault]
        assert states[shard.key].is_complete, (fault, battered.study.history(shard))
        assert battered.study.history(shard)[-1].restart >= 1
        assert battered.study.history(shard)[-1].words == len(shard.ends)


def test_a_preempted_job_saves_before_it_goes(battered: Battered) -> None:
    assert "stopped" in battered.study.events(battered.by["preempted"])


def test_what_was_killed_or_cancelled_is_missing_and_said_to_be(battered: Battered) -> None:
    shown = battered.study.run("status")
    lost = battered.by["killed"]
    assert battered.study.survey().words[MISSING] == 2 * len(lost.ends)
    assert f"interrupted {lost.key}: job {job_of(battered.study, lost)}" in shown
    assert "FAILED" in shown  # accounting's word for it


def test_resume_completes_the_rest_to_the_same_bits(battered: Battered, undisturbed: Study) -> None:
    before = battered.study.files()
    battered.study.run("resume")
    until("what was missing", empty_queue)
    assert battered.study.survey().words[DONE] == sum(len(s.ends) for s in battered.by.values())
    after = battered.study.files()
    assert {path: after[path] for path in before} == before
    expected, found = undisturbed.words(), battered.study.words()
    assert list(found) == list(expected)
    for name, vectors in found.items():
        assert torch.equal(vectors, expected[name]), name


def test_a_job_at_its_time_limit_saves_and_goes_on(
    cluster: Path, tmp_path: Path, undisturbed: Study
) -> None:
    limits = ["cluster.hours=0.0167", "cluster.signal_seconds=30", f"concept={CONCEPTS[0]}"]
    steps = ["model.classification.training.steps=20000", "trainer.checkpoint_every=500"]
    limited = study(tmp_path / "limited", "limited", LONG, *limits, *steps)
    limited.run("submit")
    (shard,) = limited.shards
    until("a first restart", lambda: "stopped" in limited.events(shard))
    until("the second start", lambda: limited.events(shard).count("started") > 1)
    folder = next((limited.folder / "checkpoints").iterdir())
    assert list(folder.glob("chunk-*"))
    assert limited.history(shard)[-1].restart == 1
    said = limited.run("cancel")
    assert "cancelled 1 jobs" in said
    until("the cancelled job", empty_queue)
    assert limited.survey().words == {DONE: 0, RUNNING: 0, QUEUED: 0, FAILED: 0, MISSING: 4}


# input that cannot be used, and a cluster that cannot do it


def test_a_partition_that_does_not_exist_is_refused_in_slurm_s_words(
    cluster: Path, tmp_path: Path
) -> None:
    said = study(tmp_path, "a", LONG).run("submit", "cluster.partition=nowhere", check=False)
    assert "SLURM refuses the job: invalid partition specified: nowhere" in said
    assert "Traceback" not in said


def test_a_folder_that_the_nodes_do_not_share_is_noticed(cluster: Path) -> None:
    hidden = study(cluster / "shared", "a", LONG, f"concept={CONCEPTS[0]}")
    hidden.run("submit", "cluster.partition=apart")
    until("its job", empty_queue)
    assert "Do the nodes share this folder?" in hidden.run("status")
    assert hidden.survey().words[MISSING] == 4


def test_a_full_disk_fails_the_shard_clearly_and_finished_words_stand(
    cluster: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", tmp_path], check=True)
    try:
        few = ["concept=" + CONCEPTS[0], "model.classification.training.steps=20"]
        full = study(tmp_path, "a", LONG, *few, "delta=[0.1,0.2,0.5,1.0]", "anchor=all")
        full.run("submit", "trainer.max_words_in_flight=4")
        (shard,) = full.shards
        until("a first word", lambda: bool(full.words()))
        with (tmp_path / "ballast").open("wb") as file:
            while file.write(bytes(4096)):
                file.flush()
    except OSError:
        until("its job", empty_queue)
        stood = full.files()
        assert full.survey().words[FAILED] == len(shard.ends) - len(full.words()) > 0
        assert "no space left while writing" in full.run("status")
        (tmp_path / "ballast").unlink()
        full.run("retry")
        until("the second try", empty_queue)
        assert full.survey().words[DONE] == len(shard.ends)
        after = full.files()
        assert {path: after[path] for path in stood} == stood
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_hydra_sweep_on_slurm_says_which_job_failed(cluster: Path, tmp_path: Path) -> None:
    overrides = [o for o in GRID if not o.startswith(("cluster", "concept", "task", "direction"))]
    swept = [
        *overrides,
        "device=cpu",
        f"concept={CONCEPTS[0]}",
        "direction=none",
        f"outputs={tmp_path}",
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=debug",
        "hydra.launcher.timeout_min=10",
        "task=classification",
    ]
    good = [*swept, "name=a", "delta=0.5,1.0"]
    command = [sys.executable, "-m", "vwtransfer", "-m"]
    subprocess.run([*command, *good], check=True, capture_output=True)
    assert len(list((tmp_path / "a" / "words").rglob("*.safetensors"))) == 4
    bad = [*swept, "name=b", "delta=0.5,1.0", "device=cuda:7"]
    failed = subprocess.run([*command, *bad], check=False, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "device=cuda:7: this machine has" in failed.stderr


# without a scheduler


def test_processes_of_this_machine_share_a_study(tmp_path: Path, alone: Study) -> None:
    shared = study(tmp_path, "grid", GRID, "cluster=local", "cluster.running=2", "cluster.cpus=1")
    shared.run("submit", "device=cpu")
    until("the processes", lambda: shared.survey().words[DONE] == 48)
    expected = alone.words()
    for name, vectors in shared.words().items():
        assert torch.equal(vectors, expected[name]), name
    until("their end", lambda: "cancelled 0 jobs and 0 local" in shared.run("cancel"))


def test_without_sbatch_the_local_executor_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = study(tmp_path, "a", LONG).run("submit", check=False)
    assert "there is no sbatch on this machine's PATH" in said
    assert "cluster=local" in said

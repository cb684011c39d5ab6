"""On a real SLURM cluster: what clusters do to jobs, and that nothing is lost by it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from slurm import (
    COMMON,
    Study,
    empty_queue,
    empty_queue_without_delay,
    hold,
    hold_all,
    kill_node,
    node_of,
    running,
    start_node,
    unreachable,
    until,
)

from offline import recorded
from vwtransfer import results
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
    "blue_dotted_star",
]
GRID = [
    *COMMON,
    f"concept=[{','.join(CONCEPTS)}]",
    "task=[classification,detection]",
    "direction=[classification_to_detection,detection_to_classification]",
    "evaluation.baselines=[anchor]",
    "model.classification.training.steps=60",
    "model.detection.training.steps=30",
    "cluster.running=4",
    "cluster.queued=4",  # fewer jobs than shards: a job does several
    "cluster.array_size=2",
]
LONG = [
    *COMMON,
    "task=classification",
    "direction=none",
    "evaluation.baselines=[]",
    "trainer.max_words_in_flight=2",  # so that half of a shard's words are finished when it is hit
    "model.classification.training.steps=600",
]
*BATTERED, LIMITED = CONCEPTS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("cluster")) as folder:
        yield folder


def study(folder: Path, name: str, overrides: list[str], *more: str) -> Study:
    return Study((*overrides, f"outputs={folder}", f"name={name}", *more))


def concepts(names: Sequence[str]) -> str:
    return f"concept=[{','.join(names)}]"


# a grid, submitted by three processes of which one is killed


@pytest.fixture(scope="module")
def grid(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """12 shards: a submission whose machine fails half way, then two at once."""
    whole = study(tmp_path_factory.mktemp("outputs"), "grid", GRID)
    held = "cluster.sbatch={hold: true}"  # until all is submitted, so that all start at once
    failing = subprocess.Popen(
        whole.command("submit", held), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert failing.stdout is not None
    assert any(line.startswith("submitted job") for line in failing.stdout)
    os.killpg(failing.pid, signal.SIGKILL)
    failing.communicate()
    both = [whole.start("submit", held) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    jobs = [entry.job for entry in whole.survey().entries]
    subprocess.run(["scontrol", "release", *jobs], check=True)
    return whole


@pytest.fixture(scope="module")
def alone(grid: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same grid, done by one process without a scheduler."""
    single = study(tmp_path_factory.mktemp("alone"), "grid", GRID)
    single.run("work")
    return single


@pytest.fixture(scope="module")
def finished(grid: Study, alone: Study) -> Study:
    """The grid once its jobs are through, and what the failed submission may have left undone."""
    until("the grid's jobs", empty_queue)
    grid.run("resume")
    until("what was missing", empty_queue)
    return grid


def test_a_grid_submitted_again_and_again_is_done_once(finished: Study) -> None:
    found = finished.survey()
    assert len(found.states) == 12
    assert found.words == {DONE: 48, RUNNING: 0, QUEUED: 0, FAILED: 0, MISSING: 0}
    for shard in finished.shards:
        assert finished.events(shard) == ["started", "finished"]
    assert len({node_of(finished, shard) for shard in finished.shards}) == 4


def test_its_words_are_the_bits_that_one_process_trains(finished: Study, alone: Study) -> None:
    assert len(finished.words()) == 48
    assert_same_bits(finished.words(), alone.words())


def test_its_results_are_those_of_one_process(finished: Study, alone: Study) -> None:
    frames = [results.read(each.folder).drop(columns="seconds") for each in (finished, alone)]
    pd.testing.assert_frame_equal(*frames)
    words = frames[0][frames[0].trained_for.isin(["classification", "detection"])]
    keys = ["concept", "anchor", "delta", "trained_for", "evaluated_on"]
    assert len(words.drop_duplicates(keys)) == 48 * 2


def test_submitting_again_submits_nothing(finished: Study) -> None:
    before = finished.files()
    assert "nothing to submit: words are 48 done" in finished.run("submit")
    assert empty_queue()
    assert finished.files() == before


def test_status_needs_no_more_than_the_name(finished: Study) -> None:
    named = Study((f"outputs={finished.folder.parent}", "name=grid", "wandb=off"))
    shown = named.run("status")
    assert "classification tiny_shapes" in shown
    last = next(line for line in shown.splitlines() if line.startswith("all")).split()
    assert last[-7:] == ["12", "48", "0", "0", "0", "0", "48"]


def test_a_changed_config_under_the_same_name_is_refused(finished: Study) -> None:
    said = finished.run("submit", "trainer.eps=1e-7", check=False)
    assert "holds another experiment's config: trainer.eps was 1e-08, now 1e-07" in said
    assert empty_queue()


# a shard for each thing that happens to jobs


@pytest.fixture(scope="module")
def hidden(cluster: Path) -> Study:
    """A study whose folder its node does not see."""
    unseen = study(cluster / "shared", "hidden", LONG, concepts(BATTERED[:1]))
    unseen.run("submit", "cluster.partition=apart")
    return unseen


@dataclass(frozen=True)
class Battered:
    """A study whose shards were each hit when half done by something else.

    Attributes:
        study: all but the shard that came to its time limit.
        limited: that one.
        undisturbed: what all of them are to come out as.
        by: what happened -> to which shard.
        jobs: what happened -> the job it happened to.
        finished: every word that was finished by then: which file, written when.
    """

    study: Study
    limited: Study
    undisturbed: Study
    by: dict[str, Shard]
    jobs: dict[str, str]
    finished: dict[Path, tuple[int, int]]

    def files(self) -> dict[Path, tuple[int, int]]:
        """All words and rows: which file, written when."""
        return self.study.files() | self.limited.files()


@pytest.fixture(scope="module")
def battered(cluster: Path, hidden: Study, tmp_path_factory: pytest.TempPathFactory) -> Battered:
    place = tmp_path_factory.mktemp("faults")
    apart = ["cluster.hours=0.0334", "cluster.sbatch={nodelist: node4}"]
    reported = ["wandb.mode=offline" if line == "wandb=off" else line for line in LONG]
    apart.append('cluster.setup=["export WANDB_MODE=offline"]')  # elsewhere in tests it is disabled
    limited = study(place, "limited", reported, f"concept={LIMITED}", *apart)
    disturbed = study(place, "faults", LONG, concepts(BATTERED), "cluster.sbatch={exclude: node4}")
    both = [each.start("submit") for each in (limited, disturbed)]
    assert [process.wait() for process in both] == [0, 0]
    slow, *held = hold_all(limited, disturbed)
    finished = limited.files() | disturbed.files()
    calm = study(place / "calm", "faults", LONG, concepts(CONCEPTS))
    calm_work = calm.start("work")  # while others wait for what is to happen to them

    # a node that fails or is taken away takes all of its jobs along: these come last
    nodes = Counter(each.node for each in held)
    lonely_first = sorted(held, key=lambda each: nodes[each.node])
    preempted = lonely_first[0]
    lost = next(each for each in lonely_first if each.node != preempted.node)
    killed, cancelled, requeued = (each for each in held if each not in (preempted, lost))
    killed.process.kill()
    subprocess.run(["scancel", cancelled.job], check=True)
    subprocess.run(["scontrol", "requeue", requeued.job], check=True)
    wanted = ["--partition=high", f"--nodelist={preempted.node}", "--cpus-per-task=8"]
    subprocess.run(["sbatch", *wanted, "--output=/dev/null", "--wrap=true"], check=True)
    kill_node(cluster, lost.node)
    start_node(lost.node)
    for told in (preempted, slow):
        until("the signal ahead of its end", told.is_told_to_save)
        told.release()
    until("what starts again", empty_queue_without_delay)
    assert calm_work.wait() == 0
    faults = {
        "killed": killed,
        "cancelled": cancelled,
        "requeued": requeued,
        "preempted": preempted,
        "lost": lost,
        "limited": slow,
    }
    return Battered(
        disturbed,
        limited,
        calm,
        {fault: each.shard for fault, each in faults.items()},
        {fault: each.job for fault, each in faults.items()},
        finished,
    )


def test_what_the_scheduler_starts_again_completes_by_itself(battered: Battered) -> None:
    for fault in ("requeued", "preempted", "lost", "limited"):
        shard = battered.by[fault]
        of = battered.limited if fault == "limited" else battered.study
        assert of.is_done(shard), (fault, of.history(shard))
        last = of.history(shard)[-1]
        assert (last.what, last.words, last.job) == ("finished", 4, battered.jobs[fault])
        assert last.restart >= 1


def test_a_job_that_is_told_its_end_saves_before_it_goes(battered: Battered) -> None:
    assert "stopped" in battered.study.events(battered.by["preempted"])
    assert "stopped" in battered.limited.events(battered.by["limited"])


def test_a_job_that_is_started_again_goes_on_in_its_wandb_run(battered: Battered) -> None:
    first, *others = recorded(battered.limited.folder)
    assert others, "the job was started again"
    assert {found.run["run_id"] for found in others} == {first.run["run_id"]}
    assert first.run["display_name"] == f"limited/{battered.by['limited'].key}"
    steps = {s for f in (first, *others) for s in f.values("tiny_shapes/classification/step")}
    assert max(steps) == 600
    rows = others[-1].table("rows")
    assert len(rows["data"]) == 4 * 2


def test_what_was_killed_or_cancelled_is_missing_and_said_to_be(battered: Battered) -> None:
    shown = battered.study.run("status")
    assert battered.study.survey().words[MISSING] == 2 * 4
    lost = battered.by["killed"]
    assert f"interrupted {lost.key}: job {battered.jobs['killed']}" in shown
    assert "FAILED" in shown  # accounting's word for it


def test_resume_completes_the_rest_to_the_same_bits(battered: Battered) -> None:
    before = battered.files()
    assert len(battered.finished) == 2 * len(CONCEPTS)
    assert {path: before[path] for path in battered.finished} == battered.finished
    battered.study.run("resume")
    until("what was missing", empty_queue)
    assert battered.study.survey().words[DONE] == len(BATTERED) * 4
    after = battered.files()
    assert {path: after[path] for path in before} == before
    assert_same_bits(
        battered.study.words() | battered.limited.words(), battered.undisturbed.words()
    )


def test_an_orphan_beside_its_successor_changes_nothing(
    cluster: Path, tmp_path: Path, battered: Battered
) -> None:
    parted = study(tmp_path, "faults", LONG, concepts(BATTERED[:1]))
    assert parted.start("submit").wait() == 0
    (orphan,) = hold_all(parted)
    first: dict[Path, tuple[int, int]] = {}

    def both_are_through() -> bool:
        first.update({path: at for path, at in parted.files().items() if path not in first})
        return orphan.is_over() and parted.is_finished()

    with unreachable(cluster, orphan.node):
        until("its successor", lambda: parted.events(orphan.shard).count("started") == 2)
        orphan.release()
        until("both to be through", both_are_through)
    until("the end of the job", empty_queue)
    ends = {(event.what, event.restart, event.reason) for event in parted.history(orphan.shard)}
    assert {("stopped", 0, "another process took it over"), ("finished", 1, "")} <= ends
    assert parted.files() == first
    assert parted.survey().words[DONE] == 4
    assert not results.read(parted.folder).duplicated(results.IDENTITY).any()
    undisturbed = battered.undisturbed.words()
    assert_same_bits(parted.words(), {key: undisturbed[key] for key in parted.words()})


def test_cancel_ends_the_jobs_of_this_study_alone(cluster: Path, tmp_path: Path) -> None:
    waiting, other = (study(tmp_path, name, LONG, concepts(BATTERED[:2])) for name in "ab")
    for each in (waiting, other):
        each.run("submit", "cluster.sbatch={hold: true}")
    assert "cancelled: 2 jobs" in waiting.run("cancel")
    assert waiting.survey().words[MISSING] == 8
    assert other.survey().words[QUEUED] == 8
    subprocess.run(["scancel", "--user=root"], check=True)
    until("the other's end", empty_queue)


def test_the_cluster_s_limits_are_asked_for(cluster: Path) -> None:
    def limit(jobs: int) -> None:
        command = ["sacctmgr", "--immediate", "modify", "user", "root", "set"]
        subprocess.run([*command, f"MaxSubmitJobs={jobs}"], check=True, capture_output=True)

    assert scheduler.max_array_size() == 9
    assert scheduler.submit_limit(None, "debug") is None
    limit(5)
    assert scheduler.submit_limit("root", "debug") == 5
    assert scheduler.submit_limit("another", "debug") is None
    limit(-1)
    assert scheduler.submit_limit(None, "debug") is None


# input that cannot be used, and a cluster that cannot do it


def test_a_partition_that_does_not_exist_is_refused_in_slurm_s_words(
    cluster: Path, tmp_path: Path
) -> None:
    refused = study(tmp_path, "a", LONG)
    said = refused.run("submit", "cluster.partition=nowhere", check=False)
    assert not list(refused.folder.glob("cluster/submissions/*"))
    assert "SLURM refuses the job: invalid partition specified: nowhere" in said
    assert "Traceback" not in said


def test_a_folder_that_the_nodes_do_not_share_is_noticed(hidden: Study, battered: Battered) -> None:
    assert "Do the nodes share this folder?" in hidden.run("status")
    assert hidden.survey().words[MISSING] == 4


def test_a_full_disk_fails_the_shard_clearly_and_finished_words_stand(
    cluster: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "none", tmp_path], check=True)
    try:
        full = study(tmp_path, "a", LONG, concepts(BATTERED[:1]), "trainer.max_words_in_flight=1")
        full.run("submit")
        (shard,) = full.shards
        until("a first word", lambda: bool(full.words()))
        held = hold(full, shard)
        with contextlib.suppress(OSError), (tmp_path / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        held.release()
        until("its job", empty_queue)
        stood = full.files()
        assert 1 <= len(full.words()) < 4
        counts = full.survey().words
        assert counts[FAILED] == 4, (counts, full.history(shard))  # none is done unmeasured
        assert "no space left while writing" in full.run("status")
        (tmp_path / "ballast").unlink()
        full.run("retry")
        until("the second try", empty_queue)
        assert full.survey().words[DONE] == 4
        after = full.files()
        assert {path: after[path] for path in stood} == stood
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_hydra_sweep_on_slurm_says_which_job_failed(cluster: Path, tmp_path: Path) -> None:
    swept = [
        *(override for override in LONG if override != "cluster=test"),
        f"concept={BATTERED[0]}",
        "model.classification.training.steps=20",
        f"outputs={tmp_path}",
        "name=swept",
        "device=cpu,cuda:7",
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=debug",
        "hydra.launcher.timeout_min=10",
    ]
    command = [sys.executable, "-m", "vwtransfer", "-m", *swept]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "device=cuda:7: this machine has" in done.stderr
    assert len(list((tmp_path / "swept" / "words").rglob("*.safetensors"))) == 4


# without a scheduler


def test_processes_of_this_machine_share_a_study(tmp_path: Path, alone: Study) -> None:
    few = [concepts(CONCEPTS[:2]), "cluster=local", "cluster.running=2", "device=cpu"]
    shared = study(tmp_path, "grid", GRID, *few, "cluster.cpus=1")
    shared.run("submit")
    until("the processes", shared.is_finished)
    assert shared.survey().words[DONE] == 16
    expected = alone.words()
    found = shared.words()
    assert_same_bits(found, {name: expected[name] for name in found})


def test_without_sbatch_the_local_executor_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = study(tmp_path, "a", LONG).run("submit", check=False)
    assert "there is no sbatch on this machine's PATH" in said
    assert "cluster=local" in said


def assert_same_bits(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for name, vectors in found.items():
        assert torch.equal(vectors, expected[name]), name

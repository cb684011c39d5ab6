"""On a real SLURM cluster: a grid, submitted by three processes of which one is killed."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from slurm import (
    COMMON,
    CONCEPTS,
    LONG,
    Study,
    assert_same_bits,
    concepts,
    empty_queue,
    node_of,
    study,
    until,
)

from vwtransfer import results
from vwtransfer.cluster.survey import DONE, FAILED, MISSING, QUEUED, RUNNING

pytestmark = pytest.mark.cluster

GRID = [
    *COMMON,
    f"concept=[{','.join(CONCEPTS)}]",
    "task=[classification,detection]",
    "direction=[classification_to_detection,detection_to_classification]",
    "delta=0.5",
    "evaluation.baselines=[anchor]",
    "model.classification.training.steps=20",
    "model.detection.training.steps=10",
    "cluster.max_running_jobs=4",
    "cluster.queued=4",  # fewer jobs than shards: a job does several
    "cluster.array_size=3",
]


@pytest.fixture(scope="module")
def grid(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """12 shards: a submission whose machine fails half way, then two at once."""
    whole = study(tmp_path_factory.mktemp("outputs"), "grid", GRID)
    # until all is submitted, so that all start at once
    held = "cluster.additional_parameters={hold: true}"
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
    assert found.words == {DONE: 24, RUNNING: 0, QUEUED: 0, FAILED: 0, MISSING: 0}
    for shard in finished.shards:
        assert finished.events(shard) == ["started", "finished"]
    assert len({node_of(finished, shard) for shard in finished.shards}) == 4


def test_its_words_are_the_bits_that_one_process_trains(finished: Study, alone: Study) -> None:
    assert len(finished.words()) == 24
    assert_same_bits(finished.words(), alone.words())


def test_its_results_are_those_of_one_process(finished: Study, alone: Study) -> None:
    own = ["eval_seconds", "written_at"]
    frames = [results.read(each.folder).drop(columns=own) for each in (finished, alone)]
    pd.testing.assert_frame_equal(*frames)
    words = frames[0][frames[0].kind == "word"]
    keys = ["concept", "anchor", "delta", "source_model", "target_model"]
    assert len(words.drop_duplicates(keys)) == 24 * 2


def test_submitting_again_submits_nothing(finished: Study) -> None:
    before = finished.files()
    assert "nothing to submit: words are 24 done" in finished.run("submit")
    assert empty_queue()
    assert finished.files() == before


def test_status_needs_no_more_than_the_name(finished: Study) -> None:
    named = Study((f"outputs={finished.folder.parent}", "name=grid", "wandb=off"))
    shown = named.run("status")
    assert re.search(r"^tiny_clip +tiny_shapes", shown, re.MULTILINE), shown
    last = next(line for line in shown.splitlines() if line.startswith("all")).split()
    assert last[-7:] == ["12", "24", "0", "0", "0", "0", "24"]


def test_a_changed_config_under_the_same_name_is_refused(finished: Study) -> None:
    said = finished.run("submit", "trainer.eps=1e-7", check=False)
    assert "holds another experiment's config: trainer.eps was 1e-08, now 1e-07" in said
    assert empty_queue()


# without a scheduler


def test_processes_of_this_machine_share_a_study(tmp_path: Path, alone: Study) -> None:
    few = [concepts(CONCEPTS[:2]), "task=classification", "direction=none"]
    here = ["cluster=local", "cluster.max_running_jobs=2", "cluster.cpus=1", "device=cpu"]
    shared = study(tmp_path, "grid", GRID, *few, *here)
    shared.run("submit")
    until("the processes", shared.is_finished)
    assert shared.survey().words[DONE] == 4
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

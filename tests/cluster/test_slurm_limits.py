"""On a real SLURM cluster: what it allows, what it refuses, and a disk that is full."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from slurm import AT_ONCE, CONCEPTS, LONG, concepts, empty_queue, hold, study, until

from vwtransfer.cluster import scheduler
from vwtransfer.cluster.survey import DONE, FAILED, MISSING, QUEUED

pytestmark = pytest.mark.cluster


def test_cancel_ends_the_jobs_of_this_study_alone(cluster: Path, tmp_path: Path) -> None:
    waiting, other = (study(tmp_path, name, LONG, concepts(CONCEPTS[:2])) for name in "ab")
    for each in (waiting, other):
        each.run("submit", "cluster.additional_parameters={hold: true}")
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


def test_a_partition_that_does_not_exist_is_refused_in_slurm_s_words(
    cluster: Path, tmp_path: Path
) -> None:
    refused = study(tmp_path, "a", LONG)
    said = refused.run("submit", "cluster.partition=nowhere", check=False)
    assert not list(refused.folder.glob("cluster/submissions/*"))
    assert "SLURM refuses the job: invalid partition specified: nowhere" in said
    assert "Traceback" not in said


def test_a_folder_that_the_nodes_do_not_share_is_noticed(cluster: Path) -> None:
    hidden = study(cluster / "shared", "hidden", LONG, concepts(CONCEPTS[:1]))
    hidden.run("submit", "cluster.partition=apart")
    until("the end of its job", empty_queue)
    assert "Do the nodes share this folder?" in hidden.run("status")
    assert hidden.survey().words[MISSING] == 4


def test_a_full_disk_fails_the_shard_clearly_and_finished_words_stand(
    cluster: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "none", tmp_path], check=True)
    try:
        full = study(tmp_path, "a", LONG, concepts(CONCEPTS[:1]), "trainer.max_words_in_flight=1")
        full.run("submit")
        (shard,) = full.shards
        until("a first word", lambda: bool(full.words()), AT_ONCE)
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
        f"concept={CONCEPTS[0]}",
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

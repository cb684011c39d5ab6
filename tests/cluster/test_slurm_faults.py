"""On a real SLURM cluster: what clusters do to jobs, and that nothing is lost by it."""

import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm import (
    CONCEPTS,
    LONG,
    STEPS,
    Study,
    assert_same_bits,
    concepts,
    empty_queue,
    empty_queue_without_delay,
    hold_all,
    kill_node,
    start_node,
    study,
    time_limit,
    unreachable,
    until,
)

from offline import recorded
from vwtransfer import results
from vwtransfer.cluster.shards import Shard
from vwtransfer.cluster.survey import DONE, MISSING

pytestmark = pytest.mark.cluster

*BATTERED, LIMITED = CONCEPTS


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
def battered(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Battered:
    place = tmp_path_factory.mktemp("faults")
    apart = ["cluster.additional_parameters={nodelist: node4}", "cluster.signal_delay_s=60"]
    reported = ["wandb.mode=offline" if line == "wandb=off" else line for line in LONG]
    apart.append('cluster.setup=["export WANDB_MODE=offline"]')  # elsewhere in tests it is disabled
    apart.append("wandb.finish_timeout_s=60")  # on a busy machine nothing is to be given up
    limited = study(place, "limited", reported, f"concept={LIMITED}", *apart)
    disturbed = study(
        place, "faults", LONG, concepts(BATTERED), "cluster.additional_parameters={exclude: node4}"
    )
    for each in (limited, disturbed):
        each.run("submit")
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
    kill_node(cluster, lost.node)  # SLURM gives it up after SlurmdTimeout
    with time_limit(slow.job):
        for told in (preempted, slow):
            until("the signal ahead of its end", told.is_told_to_save)
            told.release()
        until("its end", slow.is_over)
    until("what starts again", empty_queue_without_delay)
    start_node(lost.node)
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
    steps = {s for f in (first, *others) for s in f.values("tiny_shapes/tiny_clip/step")}
    assert max(steps) == STEPS
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
    battered.study.run("resume", "cluster.queued=1")
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
    parted.run("submit")
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

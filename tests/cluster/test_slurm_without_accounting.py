"""On a SLURM cluster that keeps no accounts, as many do not."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm import AT_ONCE, CONCEPTS, LONG, concepts, empty_queue, hold, running, study, until

from vwtransfer.cluster.survey import DONE, MISSING, RUNNING

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("cluster"), accounting=False) as folder:
        yield folder


def test_submit_status_and_resume_are_true(cluster: Path, tmp_path: Path) -> None:
    assert subprocess.run(["sacct"], check=False, capture_output=True).returncode != 0
    one = "cluster.queued=1"  # job, which does one shard after the other
    unaccounted = study(tmp_path, "a", LONG, concepts(CONCEPTS[:2]), one)
    unaccounted.run("submit")
    until("a first shard", lambda: any(map(unaccounted.is_done, unaccounted.shards)), AT_ONCE)
    first, second = sorted(unaccounted.shards, key=unaccounted.is_done, reverse=True)
    until("half of the other", lambda: unaccounted.is_half_done(second), AT_ONCE)
    held = hold(unaccounted, second)
    assert sorted(state.standing for state in unaccounted.survey().states) == [DONE, RUNNING]
    subprocess.run(["scancel", held.job], check=True)
    until("its end", empty_queue)
    assert unaccounted.survey().words[DONE] == len(first.ends)
    assert unaccounted.survey().words[MISSING] == len(second.ends)
    shown = unaccounted.run("status")
    assert re.search(r"^all .* 2 +4 +0 +0 +0 +4 +8$", shown, re.MULTILINE), shown
    assert "squeue does not answer" not in shown
    before = unaccounted.files()
    unaccounted.run("resume")
    until("the rest", empty_queue)
    assert unaccounted.survey().words[DONE] == len(first.ends) + len(second.ends)
    after = unaccounted.files()
    assert {path: after[path] for path in before} == before

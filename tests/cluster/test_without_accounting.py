"""On a SLURM cluster that keeps no accounts, as many do not."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm import Study, empty_queue, hold, running, until
from test_on_slurm import BATTERED, LONG, concepts

from vwtransfer.cluster.survey import DONE, MISSING, RUNNING

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("cluster"), accounting=False) as folder:
        yield folder


def test_submit_status_and_resume_are_true(cluster: Path, tmp_path: Path) -> None:
    assert subprocess.run(["sacct"], check=False, capture_output=True).returncode != 0
    unaccounted = Study((*LONG, concepts(BATTERED[:2]), f"outputs={tmp_path}", "name=a"))
    first, second = unaccounted.shards
    unaccounted.run("submit")
    until("its training", lambda: unaccounted.is_half_done(first))
    held = hold(unaccounted, first)
    assert unaccounted.survey().states[0].standing == RUNNING
    subprocess.run(["scancel", held.job], check=True)
    until("the other", empty_queue)
    assert unaccounted.survey().words[DONE] == len(second.ends)
    assert unaccounted.survey().words[MISSING] == len(first.ends)
    shown = unaccounted.run("status")
    assert re.search(r"^all .* 2 +4 +0 +0 +0 +4 +8$", shown, re.MULTILINE), shown
    assert "squeue does not answer" not in shown
    before = unaccounted.files()
    unaccounted.run("resume")
    until("the rest", empty_queue)
    assert unaccounted.survey().words[DONE] == len(first.ends) + len(second.ends)
    after = unaccounted.files()
    assert {path: after[path] for path in before} == before

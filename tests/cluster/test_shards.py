"""Shards, how they are spread over jobs, and what the disk says of them."""

import dataclasses
import errno
import itertools
import json
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from composing import compose
from forked import Forked
from vwtransfer.cluster import claims, history, local, scheduler, submissions, survey
from vwtransfer.cluster.arrays import arrays, send
from vwtransfer.cluster.shards import shards
from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.progress import terminal
from vwtransfer.results import is_whole
from vwtransfer.words.cells import cells


@pytest.fixture(scope="module")
def section5() -> Config:
    return compose(["experiment=tiny_section5"])


def test_the_paper_s_grid_is_120_shards_of_40_words(section5: Config) -> None:
    found = shards(section5)
    assert len(found) == 120
    assert {len(shard.ends) for shard in found} == {40}
    assert sorted(c for s in found for c in s.cells) == sorted(cells(section5))
    assert len({shard.key for shard in found}) == 120


def test_a_shard_can_be_smaller(section5: Config) -> None:
    found = shards(compose(["experiment=tiny_section5", "submit.words_per_shard=15"]))
    assert [len(shard.ends) for shard in found[:3]] == [15, 15, 10]
    assert [shard.key.rpartition("/")[2] for shard in found[:3]] == ["1of3", "2of3", "3of3"]
    assert sorted(c for s in found for c in s.cells) == sorted(cells(section5))


def test_what_a_dataset_cannot_train_has_no_shard(section5: Config) -> None:
    found = shards(section5, {("tiny_owlv2", "tiny_small")})
    assert len(found) == 110
    assert not [s for s in found if (s.model, s.dataset) == ("tiny_owlv2", "tiny_small")]


@pytest.mark.parametrize(
    ("count", "running", "queued", "array_size"),
    [
        (120, 40, None, 1001),
        (120, 40, 100, 1001),
        (120, 40, None, 50),
        (120, 2, None, 9),
        (12, 40, None, 9),
        (1, 40, 1, 1),
        (25_000, 40, 1000, 1001),
        (7, 40, None, None),
    ],
)
def test_shards_are_spread_within_every_limit(
    count: int, running: int, queued: int | None, array_size: int | None
) -> None:
    keys = [str(i) for i in range(count)]
    found = arrays(keys, running, queued, array_size)
    jobs = [job for array in found for job in array.jobs]
    assert sorted(itertools.chain(*jobs)) == sorted(keys)
    assert len(jobs) <= (queued or count)
    assert all(len(array.jobs) <= (array_size or count) for array in found)
    assert all(array.jobs and array.running >= 1 for array in found)
    assert sum(array.running for array in found) <= max(running, 1)
    assert max(map(len, jobs)) - min(map(len, jobs)) <= 1


def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(
    section5: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(section5, outputs=tmp_path / "50%a")
    with pytest.raises(UserError, match=r"50%a/tiny_section5: SLURM reads % in the paths of logs"):
        send(config, ["a"], terminal())
    assert not config.folder.exists()


def test_a_user_without_a_name_goes_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nameless)  # as in a container
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    assert scheduler.current_user() == str(os.getuid())


def test_jobs_of_users_without_a_name_are_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "1|RUNNING|None|n1|98765|nobody|a|b\n2|PENDING|None||98766|nobody|c\n3|PENDING|||0|x|d"
    (tmp_path / "squeue").write_text(  # SLURM 22.05 says "Invalid user", and ends with 0
        f"#!/bin/sh\ncase $* in *--user*) exit 0;; esac\nprintf '%s\n' '{rows}'\n"
    )
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(os, "getuid", lambda: 98765)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def seen(*users: str) -> list[tuple[str, str, str]]:
        return [(e.job, e.user, e.name) for e in scheduler.queue(users) or ()]

    assert seen() == [("1", "98765", "a|b")]
    assert seen("98766", "gone") == [("1", "98765", "a|b"), ("2", "98766", "c")]
    assert not scheduler.is_gone("1")
    monkeypatch.setenv("LOGNAME", "ada")  # set for a container that knows no such user
    assert seen("ada") == [("1", "ada", "a|b")]


def test_only_one_place_asks_who_a_person_is() -> None:
    package = Path(scheduler.__file__).parents[1]
    asking = [p.name for p in package.rglob("*.py") if "getuser" in p.read_text(encoding="utf-8")]
    assert asking == ["scheduler.py"]


def test_a_cluster_that_takes_enough_jobs_gives_each_shard_its_own() -> None:
    (array,) = arrays([str(i) for i in range(120)], 40, None, 1001)
    assert len(array.jobs) == 120
    assert array.running == 40


def test_options_of_sbatch_and_measured_times_can_be_given_on_the_command_line() -> None:
    cluster = compose(
        [
            "cluster.additional_parameters={exclude: node7}",
            "cluster.seconds_per_word={generation: 9}",
        ]
    ).cluster
    assert cluster.additional_parameters == {"exclude": "node7"}
    assert cluster.seconds_per_word == {"generation": 9}


def test_one_of_two_processes_gets_a_claim(tmp_path: Path) -> None:
    first = claims.take(tmp_path / "shard.json", expires=60)
    assert first is not None
    with first:
        assert claims.take(tmp_path / "shard.json", expires=60) is None
    again = claims.take(tmp_path / "shard.json", expires=60)
    assert again is not None


def test_of_many_who_want_a_dead_owner_s_claim_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    owner = Forked(lambda: claims.take(path, 60), tmp_path / "owner")
    assert owner.wait() == 0
    assert path.exists()  # its owner has gone without giving it up

    def take() -> None:
        print(claims.take(path, 60) is not None, file=sys.stderr)
        signal.pause()

    takers = [Forked(take, tmp_path / name) for name in "abcd"]
    while not all(taker.errors.endswith("\n") for taker in takers):
        assert all(taker.running for taker in takers), [taker.errors for taker in takers]
        time.sleep(0.01)
    for taker in takers:
        taker.send(signal.SIGTERM)
        taker.wait()
    assert sorted(taker.errors.strip() for taker in takers) == ["False", "False", "False", "True"]


def test_a_claim_without_a_heartbeat_expires_and_its_owner_notices(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    slow = claims.take(path, expires=600)
    assert slow is not None
    slow._interval = 0.05
    os.utime(path, (1, 1))  # not a sign of life for years
    taken = claims.take(path, expires=60)
    assert taken is not None
    with slow:
        deadline = time.monotonic() + 10
        while not slow.lost:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert claims.owner_of(path) == taken.owner  # what is lost is not given up twice


WHOLE = dataclasses.asdict(dataclasses.replace(claims.UNKNOWN, host="vm", pid=1, token="t"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        json.dumps(WHOLE)[:40],
        "[]",
        "null",
        json.dumps({"host": "vm"}),
        json.dumps({**WHOLE, "pid": "1"}),
        json.dumps({**WHOLE, "job": 7}),
        "\0\0",
        "[" * 100_000,
    ],
)
def test_a_damaged_claim_is_held_by_nobody_known_until_it_expires(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "shard.json"
    path.write_text(text)
    assert claims.owner_of(path) == claims.UNKNOWN
    assert claims.is_alive(path, claims.UNKNOWN, 60, time.time())
    assert claims.take(path, expires=60) is None
    os.utime(path, (1, 1))
    assert claims.take(path, expires=60) is not None
    assert claims.owner_of(path) != claims.UNKNOWN


@pytest.mark.parametrize("pid", [-1, 2**70])
def test_a_number_that_no_process_has_is_of_none(pid: int) -> None:
    assert claims.process_of(pid, 0.0) is None


def test_claims_without_a_sign_of_life_are_abandoned(tmp_path: Path) -> None:
    dead, alive, given_up = (tmp_path / f"{name}.json" for name in ("dead", "alive", "given_up"))
    dead.write_text(json.dumps(WHOLE))
    claim = claims.take(alive, expires=0.6)
    assert claim is not None
    with claim:
        assert claims.abandoned([dead, alive, given_up], expires=0.6) == [dead]


def test_a_heartbeat_keeps_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    claim = claims.take(path, expires=1.2)
    assert claim is not None
    with claim:
        time.sleep(2)
        assert claims.is_alive(path, claim.owner, 1.2, claims.clock(tmp_path))
        assert claims.take(path, expires=1.2) is None


def test_a_job_that_is_started_again_takes_its_own_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard.json"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    before = claims.take(path, expires=60)
    assert before is not None
    assert before.owner.job == "77"
    assert before.owner.host == socket.gethostname()
    assert before.owner.began == psutil.Process().create_time()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert claims.take(path, expires=60) is not None
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert claims.take(path, expires=60) is None
    assert claims.take(path, expires=60, job_is_gone=lambda job: job == "77") is not None


def test_processes_of_one_job_leave_each_other_s_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")  # as under salloc, or srun of several tasks
    assert claims.take(tmp_path / "shard.json", expires=60) is not None
    assert claims.take(tmp_path / "shard.json", expires=60) is None


def test_a_job_of_another_cluster_is_not_gone_because_this_one_does_not_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard.json"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "north")
    assert claims.take(path, expires=60) is not None
    for job, cluster in (("78", "south"), ("77", "south"), ("78", "")):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_CLUSTER_NAME", cluster)
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        assert claims.take(path, expires=60, job_is_gone=lambda job: True) is None


def test_a_process_that_cannot_be_seen_from_here_lives_by_its_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "shard.json"
    claim = claims.take(path, expires=60)
    assert claim is not None
    now = claims.clock(tmp_path)
    gone = dataclasses.replace(claim.owner, pid=2**22 + 1)
    assert not claims.is_alive(path, gone, 60, now)
    for hidden in (
        dataclasses.replace(gone, user="somebody"),
        dataclasses.replace(gone, host="elsewhere"),
    ):
        assert claims.is_alive(path, hidden, 60, now)
    moved = dataclasses.replace(claim.owner, began=claim.owner.began + 1)
    assert claims.is_alive(path, moved, 60, now)  # the machine's clock was set by a second


def test_where_no_file_can_be_written_this_machine_s_clock_tells_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "write_text", full)
    assert abs(claims.clock(tmp_path) - time.time()) < 5
    assert not list(tmp_path.iterdir())


def test_another_person_s_job_is_not_gone_because_squeue_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard.json"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    theirs = claims.take(path, expires=60)
    assert theirs is not None
    path.write_text(json.dumps({**dataclasses.asdict(theirs.owner), "user": "somebody"}))
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert claims.take(path, expires=60, job_is_gone=lambda job: True) is None


def test_a_line_of_history_that_was_cut_off_harms_no_other(
    tmp_path: Path, section5: Config
) -> None:
    shard = shards(section5)[0]
    history.record(tmp_path, shard, history.event(history.FAILED, 0.0, 0, "kein Platz für später"))
    path = history.history_path(tmp_path, shard)
    whole = path.read_bytes()
    path.write_bytes(whole + '{"what": "again", "reason": "f\u00fc'.encode()[:-1])  # half a letter
    history.record(tmp_path, shard, history.event(history.AGAIN, 0.0))
    found = history.history(tmp_path, shard)
    assert [event.what for event in found] == [history.FAILED, history.AGAIN]
    assert found[0].reason == "kein Platz für später"


def test_a_history_that_cannot_be_added_to_names_an_error_that_is_not_its_own_cause(
    tmp_path: Path, section5: Config
) -> None:
    shard = shards(section5)[0]
    path = history.history_path(tmp_path, shard)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(OSError) as caught:
        history.record(tmp_path, shard, history.event(history.AGAIN, 0.0))
    assert caught.value.__cause__ is not caught.value


def test_all_jobs_are_cancelled_whatever_slurm_says_of_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scancel = tmp_path / "scancel"
    scancel.write_text(f"#!/bin/sh\necho $# >> {tmp_path}/asked\necho refused >&2\nexit 1\n")
    scancel.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert scheduler.cancel(str(i) for i in range(scheduler.UNITS + 1)) == ["refused"]
    assert (tmp_path / "asked").read_text().split() == [str(scheduler.UNITS), "1"]


def test_a_file_that_is_no_table_of_results_holds_no_row(tmp_path: Path) -> None:
    table = pa.table({name: ["x"] for name in (*EvalSpec.__dataclass_fields__, "value")})
    names = ["whole", "lacking", "doubled", "other", "pipe"]
    paths = [tmp_path / f"{name}.parquet" for name in names]
    pq.write_table(table, paths[0])
    pq.write_table(table.drop_columns("concept"), paths[1])
    pq.write_table(table.append_column("concept", table["concept"]), paths[2])
    paths[3].write_text("x")
    os.mkfifo(paths[4])
    assert [len(survey.rows_in([path])) for path in paths] == [1, 0, 0, 0, 0]
    assert [is_whole(path) for path in paths] == [True, True, True, False, False]


@pytest.mark.parametrize("text", ["", '{"arra', "null", "[1]", '{"arrays": 1}', "[" * 100_000])
def test_damaged_records_of_submissions_are_said_in_a_line(tmp_path: Path, text: str) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "submissions/1/shards.json": lambda _: submissions.submitters(tmp_path),
        "submissions/1/controllers.json": local.alive_controllers,
        "left_out.json": lambda _: survey.left_out(tmp_path),
    }
    for name, read in readers.items():
        path = tmp_path / "cluster" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with pytest.raises(UserError, match=r"is damaged \(.*\)\. Restore or delete it"):
            read(path)

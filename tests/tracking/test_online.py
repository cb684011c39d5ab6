"""Where there is a key and a server that answers: what of a study arrives there."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from jobs import KEY, ROWS, Job, loss, started, until
from lab import ENTITY, KeptRun, Lab, laboratory

from composing import compose
from offline import SMALL, Recorded, recorded
from vwtransfer import results
from vwtransfer.actions.run import run as run_study
from vwtransfer.config import Config
from vwtransfer.tracking import names
from vwtransfer.tracking.outbox import GRACE_S
from vwtransfer.tracking.wandb_sync import mended

WANDB = Path(sys.executable).with_name("wandb")
pytestmark = pytest.mark.integration
AT_ONCE = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}  # every 15 s it sends rows, else
ONE = ["concept=red_striped_star", "task=detection", "direction=none", "evaluation.baselines=[]"]


def environment(lab: Lab, home: Path) -> dict[str, str]:
    """What a person's shell has, and nothing of wandb's from elsewhere."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**plain, **KEY, "WANDB_BASE_URL": lab.address, "HOME": str(home)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """What has the runs of all tests here."""
    with laboratory() as server:
        yield server


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Of two words."""
    return compose([*SMALL, *ONE, f"outputs={tmp_path_factory.mktemp('outputs')}"])


@pytest.fixture(scope="module")
def said(lab: Lab, config: Config) -> str:
    """What the study says of wandb at its end."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.delenv("WANDB_MODE")
        for name, value in environment(lab, config.folder.parent).items():
            patch.setenv(name, value)
        run_study(config)
    return printed.getvalue().splitlines()[-1]


@pytest.fixture(scope="module")
def written(said: str, config: Config) -> Recorded:
    """What it wrote for wandb, be it online or not."""
    (found,) = recorded(config.folder, "run")
    return found


@pytest.fixture(scope="module")
def kept(lab: Lab, written: Recorded) -> KeptRun:
    """Its run there."""
    return lab.runs[written.run["run_id"]]


def test_the_run_is_there_and_said_to_be(
    lab: Lab, said: str, written: Recorded, kept: KeptRun
) -> None:
    assert said == f"wandb: {lab.address}/{ENTITY}/vwtransfer/runs/{written.run['run_id']}"
    assert (kept.opened["groupName"], kept.opened["jobType"]) == ("study", "tiny_owlv2")
    assert kept.opened["tags"] == ["tiny_shapes", "red_striped_star"]
    assert kept.config["trainer"]["num_vectors"] == 4
    assert kept.exit_codes == [0]


def test_all_that_was_logged_is_there(kept: KeptRun, written: Recorded) -> None:
    assert kept.values("tiny_shapes/tiny_owlv2/step") == list(range(1, 5))
    moments = [row["_step"] for row in kept.history]
    assert moments == [item["_step"] for item in written.history]
    assert all(name in kept.summary for name in ("progress/measured", *means(written)))


def means(written: Recorded) -> set[str]:
    updates = [record.get("update", {}) for record in written.of("summary")]
    return {name for update in updates for name in update if name.startswith("in_domain/")}


def test_pictures_are_there_with_their_boxes(kept: KeptRun) -> None:
    name = names.images("tiny_shapes", "tiny_owlv2", "tiny_owlv2")
    (logged,) = (row for row in kept.history if name in row)
    shown = logged[name]
    pictures = [kept.uploads[file] for file in shown["filenames"]]
    assert pictures and all(picture.startswith(b"\x89PNG") for picture in pictures)
    (boxes, *_) = shown["all_boxes"]
    found = json.loads(kept.uploads[boxes["annotated"]["path"]])
    assert found["box_data"][0]["box_caption"]


def test_words_and_rows_are_there_as_artifacts(lab: Lab, config: Config, written: Recorded) -> None:
    mine = [each for each in lab.artifacts.values() if each.run == written.run["run_id"]]
    assert all(each.whole for each in mine)
    (words,) = (each.files for each in mine if each.kind == "words")
    store = config.folder / "words"
    for path in store.rglob("*.safetensors"):
        assert words[path.relative_to(store).as_posix()] == path.read_bytes()
    assert len(words) == 1 + 2  # its manifest
    (table,) = (each.files for each in mine if each.kind == "run_table")
    assert len(json.loads(table["rows.table.json"])["data"]) == len(results.read(config.folder))


def test_a_job_that_was_killed_goes_on_in_its_run(lab: Lab, tmp_path: Path) -> None:
    began = time.time()

    def job() -> Job:
        return started(tmp_path, {**KEY, **AT_ONCE, "WANDB_BASE_URL": lab.address}, began=began)

    def arrived() -> int:
        return len(lab.runs[tmp_path.name].values("loss")) if tmp_path.name in lab.runs else 0

    first = job()
    until(lambda: arrived() == ROWS)
    first.recorder().kill()
    first.end()
    assert lab.runs[tmp_path.name].exit_codes == []
    job().end()
    run = lab.runs[tmp_path.name]
    assert run.values("loss") == [*range(ROWS), *range(ROWS)]
    moments = [row["_step"] for row in run.history]
    assert moments == sorted(set(moments))
    assert run.exit_codes == [0]


def test_what_a_server_that_goes_away_missed_is_uploaded_later(tmp_path: Path) -> None:
    with laboratory() as gone:
        job = started(tmp_path, {**KEY, **AT_ONCE, "WANDB_BASE_URL": gone.address}, timeout_s=1)
        until(lambda: tmp_path.name in gone.runs and gone.runs[tmp_path.name].values("loss"))
    for step in range(ROWS, 2 * ROWS):
        job.outbox.send(partial(loss, step, time.time()))
    assert job.end() < 1 + GRACE_S
    assert job.outbox.answer["mode"] == "online"
    assert "TimeoutError" in job.outbox.answer["reason"]
    with laboratory() as back:
        command = [str(WANDB), "beta", "sync", "--no-skip-online", str(tmp_path / "wandb")]
        subprocess.run(command, env=environment(back, tmp_path), check=True)
        assert back.runs[tmp_path.name].values("loss") == [*range(2 * ROWS)]


# offline first, then uploaded


def uploaded(lab: Lab, folder: Path) -> subprocess.CompletedProcess[str]:
    """action=wandb_sync of a study, as if some time had passed."""
    for log in folder.glob("wandb/offline-run-*/*.wandb"):
        os.utime(log, (time.time() - 100,) * 2)
    command = [sys.executable, "-m", "vwtransfer", f"outputs={folder.parent}"]
    return subprocess.run(
        [*command, f"name={folder.name}", "action=wandb_sync"],
        env={**environment(lab, folder), "WANDB_MODE": "offline"},  # as for jobs
        check=False,
        capture_output=True,
        text=True,
    )


def killed(folder: Path, began: float) -> Recorded:
    """What a job leaves that is killed with wandb's own processes."""
    job = started(folder, {"WANDB_MODE": "offline"}, began=began)
    until(lambda: any(found.values("loss") for found in recorded(folder)), every=0.3)
    recorder = job.recorder()
    for process in (*recorder.children(recursive=True), recorder):
        process.kill()
    job.end()
    (found,) = recorded(folder)
    return found


def test_a_job_killed_and_started_again_is_uploaded_as_one_run(lab: Lab, tmp_path: Path) -> None:
    began = time.time()
    first = killed(tmp_path, began)
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-10])
    started(tmp_path, {"WANDB_MODE": "offline"}, began=began).end()
    empty = tmp_path / "wandb" / "offline-run-20200101_000000-empty" / "run-empty.wandb"
    empty.parent.mkdir()
    empty.write_bytes(content[:7])

    done = uploaded(lab, tmp_path)
    assert done.stdout.splitlines()[-1] == (
        "uploaded: 2 of 3 files of runs; 0 were before, 0 were written to in the last minute,"
        " 1 have nothing in them"
    )
    run = lab.runs[tmp_path.name]
    logged = [value for found in recorded(tmp_path) for value in found.values("loss")]
    assert run.values("loss") == logged
    assert logged[-ROWS:] == [*range(ROWS)] and len(logged) > ROWS
    assert run.exit_codes == [1, 0]

    again = uploaded(lab, tmp_path)
    assert "uploaded: 0 of 3 files of runs; 2 were before" in again.stdout
    assert run.exit_codes == [1, 0]


@pytest.mark.parametrize("share", [0.3, 0.999])
def test_a_cut_file_keeps_every_whole_record(
    written: Recorded, tmp_path: Path, share: float
) -> None:
    content = written.path.read_bytes()
    cut = tmp_path / "wandb" / "offline-run-20200101_000000-cut" / "run-cut.wandb"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(content[: int(share * len(content))])
    assert mended(cut)
    (left,) = recorded(tmp_path)
    assert left.records == written.records[: len(left.records)]
    assert content.startswith(cut.read_bytes())

    cut.write_bytes(content[: cut.stat().st_size - 1])
    assert mended(cut)
    (less,) = recorded(tmp_path)
    assert less.records == left.records[:-1]


def test_a_study_without_offline_runs_is_told_so(lab: Lab, tmp_path: Path) -> None:
    done = uploaded(lab, tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"there are no offline runs in {tmp_path}/wandb\n")

"""Shards done by one process, kept in few files, and looked at: no scheduler needed."""

import io
import json
import math
import shutil
import signal
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from composing import compose
from drawn import photos
from forked import vwtransfer
from vwtransfer import results
from vwtransfer.cluster import archive, history, plan, status, submit, survey, worker
from vwtransfer.cluster.claims import UNKNOWN, take
from vwtransfer.cluster.scheduler import Entry
from vwtransfer.cluster.shards import shards
from vwtransfer.cluster.status import snapshot
from vwtransfer.cluster.status_table import status_table
from vwtransfer.cluster.submissions import write_submission
from vwtransfer.cluster.survey import DONE, FAILED, MISSING, QUEUED, RUNNING
from vwtransfer.cluster.time_estimates import time_estimates
from vwtransfer.config import ArchiveConfig, Config, provenance
from vwtransfer.errors import UserError
from vwtransfer.progress import stages
from vwtransfer.study import Study, data_loading, train_words
from vwtransfer.study.callbacks import Callbacks
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.words.store import Failure, Word, WordStore, load_word

SMALL = [
    "wandb=off",
    "name=small",
    "cluster=local",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "task=classification",
    "direction=none",
    "concept=[red_striped_star,blue_dotted_heart]",
    "anchor=[zepu,muli]",
    "model.classification.training.steps=3",
    "evaluation.baselines=[anchor]",
    "threads=1",
    "device=cpu",
    "progress=false",
    "report=false",
]

LEFT = "4 words of another config or other images were left there"


def config(folder: Path, *more: str) -> Config:
    return compose([*SMALL, f"outputs={folder / 'outputs'}", f"kept={folder / 'kept'}", *more])


def merged(study: Config) -> Config:
    return replace(study, archive=ArchiveConfig(merge=True))


def shown(study: Config) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(snapshot(study)[0])
    return console.export_text()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A study of two shards, done by `action=work`; who had one, on another machine, was dead."""
    study = config(tmp_path_factory.mktemp("done"))
    path = survey.claim_path(study.folder, shards(study)[0])
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(asdict(replace(UNKNOWN, host="elsewhere", token="theirs"))))
    worker.work(replace(study, cluster=replace(study.cluster, heartbeat_timeout_s=2.0)))
    return study


def words(study: Config) -> dict[str, torch.Tensor]:
    store = study.folder / "words"
    return {
        path.relative_to(store).as_posix(): load_word(path).vectors_KD
        for path in sorted(store.rglob("*.safetensors"))
    }


def test_work_trains_and_measures_every_shard(done: Config) -> None:
    found = survey.survey(done, ask=False)
    assert [state.standing for state in found.states] == [DONE, DONE]
    assert len(words(done)) == 4
    frame = results.read(done.folder)
    assert len(list((done.folder / "results").iterdir())) == 2  # one part for each shard
    assert set(frame.kind) == {"word", "anchor", "chance"}
    assert len(frame[frame.kind == "word"]) == 4 * 2
    assert not list((done.folder / "checkpoints").iterdir())
    assert not [p for p in (done.folder / "cluster/claims").iterdir() if p.suffix == ".json"]
    for shard in shards(done):
        assert [e.what for e in history.history(done.folder, shard)] == ["started", "finished"]


def test_work_that_is_done_is_not_done_again(done: Config) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.folder.rglob("results/*")}
    worker.work(done)
    assert {p: p.stat().st_mtime_ns for p in done.folder.rglob("results/*")} == before


def test_status_and_plan_count_them(done: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert "all" in shown(done)
    plan.plan(done)
    printed = capsys.readouterr().out
    assert "2 shards, each the work of one job: 2 words of a concept" in printed
    assert "to do now: 0 words in 0 shards" in printed
    assert "blue_dotted_heart" not in printed
    plan.plan(config(done.outputs.parent, "submit.list_shards=true"))
    printed = capsys.readouterr().out
    assert "tiny_shapes/tiny_clip/blue_dotted_heart  2 words, 2 done, done" in printed


def test_what_status_shows_fits_a_terminal_of_80_columns(done: Config) -> None:
    console = Console(width=80, file=io.StringIO(), record=True, color_system=None)
    console.print(status_table(survey.survey(done, ask=False).states, done.model))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == [
        "model",
        "dataset",
        "shards",
        "done",
        "running",
        "queued",
        "failed",
        "missing",
        "words",
    ]
    assert lines[-1].split()[-7:] == ["2", "4", "0", "0", "0", "0", "4"]


def test_a_shard_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    study = config(tmp_path)
    first, second = shards(study)
    claim = take(survey.claim_path(study.folder, first), 60)
    assert claim is not None
    with claim:
        assert worker.do(study, [first, second], Console(quiet=True)) == []
        states = survey.survey(study, ask=False).states
        assert [state.standing for state in states] == [RUNNING, DONE]
    assert survey.survey(study, ask=False).words[MISSING] == 2


def test_a_shard_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    study = config(tmp_path)
    first, second = shards(study)
    in_the_way = study.folder / "words" / first.folder
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()  # a file where a folder is to be
    with pytest.raises(UserError, match=f"1 shards failed: {first.key}"):
        worker.work(study)
    found = survey.survey(study, ask=False)
    assert found.words == {DONE: 2, RUNNING: 0, QUEUED: 0, FAILED: 2, MISSING: 0}
    assert f"failed {first.key}" in shown(study)
    in_the_way.unlink()
    assert worker.do(study, [first], Console(quiet=True)) == []  # not before it is asked for
    assert survey.survey(study, ask=False).words[FAILED] == 2
    submit._forget(study, [found.states[0]])
    worker.work(study)
    assert survey.survey(study, ask=False).words[DONE] == 4
    assert second.key != first.key


def test_an_image_that_goes_bad_fails_what_needs_it_alone_and_is_tried_again_once_mended(
    tmp_path: Path,
) -> None:
    photos(tmp_path / "photos", {"red": 4, "lime": 4})
    study = config(
        tmp_path,
        "dataset=[tiny_shapes,folder]",
        f"dataset.folder.root={tmp_path / 'photos'}",
        "concept=[red_striped_star,red,lime]",
    )
    data_loading.opened(study)  # the images are chosen
    image = next((tmp_path / "photos" / "lime").iterdir())
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"2 shards failed: .*lime/{image.name}"):
        worker.work(study)
    found = survey.survey(study, ask=False)
    assert found.words == {DONE: 2, RUNNING: 0, QUEUED: 0, FAILED: 4, MISSING: 0}
    assert f"failed folder/tiny_clip/lime: {study.folder}/manifests/" in shown(study)
    before = {p: p.stat().st_mtime_ns for p in study.folder.rglob("words/**/*.safetensors")}
    image.write_bytes(whole)
    submit._forget(study, submit._failed(study, found))
    worker.work(study)
    assert survey.survey(study, ask=False).words[DONE] == 6
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_what_failed_can_be_tried_again_with_other_resources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = config(tmp_path)
    first = shards(study)[0]
    entry = history.event(history.FAILED, 0.0, 0, "out of memory")
    history.record(study.folder, first, entry)
    worker.work(study)
    roomy = ("cluster=gpu_80gb", "cluster.hours=24", "cluster.memory_gb=128")
    submit.retry(config(tmp_path, *roomy, "submit.dry_run=true"))
    assert "array-0.sh: 1 tasks; nothing was submitted" in capsys.readouterr().out
    script = (study.folder / "cluster" / "dry_run" / "array-0.sh").read_text().splitlines()
    for line in ("#SBATCH --time=1440", "#SBATCH --mem=131072MB"):
        assert line in script, "\n".join(script)
    again = config(tmp_path, "cluster.cpus=2")
    submit.retry(again)
    deadline = time.monotonic() + 240
    while survey.survey(again).standing(RUNNING, QUEUED) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert survey.survey(again).words == {DONE: 4, RUNNING: 0, QUEUED: 0, FAILED: 0, MISSING: 0}


def test_a_study_of_which_every_word_diverged_says_so_and_ends(tmp_path: Path) -> None:
    from vwtransfer.actions import run as plain

    lost = config(tmp_path, "model.classification.training.learning_rate=1e30")
    worker.work(lost)
    assert survey.survey(lost, ask=False).words[FAILED] == 4
    assert shown(lost).count("stopped being finite") == 4
    plain.run(lost)
    assert results.read(lost.folder).value.isna().sum() >= 4


def test_a_diverged_word_is_never_counted_as_done_and_can_be_tried_again(tmp_path: Path) -> None:
    study = config(tmp_path)
    first = shards(study)[0]
    store = WordStore(study.folder / "words")
    store.save_failure(Failure(first.cells[0], 2, "loss or vectors stopped being finite"))
    worker.work(study)
    found = survey.survey(study, ask=False)
    assert found.words == {DONE: 3, RUNNING: 0, QUEUED: 0, FAILED: 1, MISSING: 0}
    assert found.states[0].is_complete
    assert f"failed {first.cells[0].key}: step 2: loss or vectors stopped" in shown(study)
    before = {p: p.stat().st_mtime_ns for p in study.folder.rglob("words/**/*.safetensors")}
    submit._forget(study, [found.states[0]])
    worker.work(study)
    assert survey.survey(study, ask=False).words[DONE] == 4
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert store.load(first.cells[0]).note == "trained apart from 1 of the 2 words of its job"
    frame = results.read(study.folder)
    assert len(frame[frame.kind == "word"]) == 4 * 2


class Heard(Callbacks):
    """Keeps the rows that a tracker is given at the end."""

    rows: pd.DataFrame | None = None

    def conclude(self, rows: pd.DataFrame | None) -> None:
        self.rows = rows


def test_a_tracker_is_given_all_rows_of_a_shard_whose_last_word_was_tried_again(
    tmp_path: Path,
) -> None:
    study = config(tmp_path)
    first = shards(study)[0]
    store = WordStore(study.folder / "words")
    store.save_failure(Failure(first.cells[0], 2, "loss or vectors stopped being finite"))
    worker.work(study)
    submit._forget(study, [survey.survey(study, ask=False).states[0]])
    loaded, heard = worker.LoadedStudy(study), Heard()
    datasets = {"tiny_shapes": loaded.dataset("tiny_shapes")}
    with stages(Console(quiet=True), False) as bars:
        again = Study(study, loaded.suite, datasets, first.cells, store, bars, lambda: False, heard)
        train_words(again)
        worker._measure(again, first)
    assert heard.rows is not None
    own = heard.rows[heard.rows["kind"] == "word"]
    assert set(own["anchor"]) == {"zepu", "muli"}
    assert set(own["concept"]) == {first.concept}
    assert "anchor" in set(heard.rows["kind"])
    assert survey.survey(study, ask=False).words[DONE] == 4


def test_what_is_asked_for_later_is_measured_and_nothing_is_done_twice(tmp_path: Path) -> None:
    study = config(tmp_path)
    worker.work(study)
    before = {p: p.stat().st_mtime_ns for p in study.folder.rglob("words/**/*.safetensors")}
    more = config(tmp_path, "direction=classification_to_detection")
    assert survey.survey(more, ask=False).words[MISSING] == 4
    worker.work(more)
    assert survey.survey(more, ask=False).words[DONE] == 4
    assert {p: p.stat().st_mtime_ns for p in before} == before
    frame = results.read(study.folder)
    mapped = frame[frame["transfer"] == "least_squares"]
    assert set(mapped["target_model"]) == {"tiny_owlv2"}
    assert len(mapped.drop_duplicates(["concept", "anchor"])) == 4
    for less in ("anchor=[muli]", "submit.words_per_shard=1", "direction=none"):
        found = survey.survey(config(tmp_path, "direction=classification_to_detection", less))
        assert found.words[MISSING] == 0, less


def test_kept_words_whose_rows_are_not_all_there_are_measured_again(
    done: Config, tmp_path: Path
) -> None:
    archive.archive(done)
    kept = shutil.copytree(done.kept, tmp_path / "kept")
    path = next((kept / "small" / "shards").glob("*red_striped_star.parquet"))
    frame = pd.read_parquet(path)
    frame[frame["anchor"] != "zepu"].to_parquet(path)
    clone = config(tmp_path)
    archive.restore(clone)
    found = survey.survey(clone, ask=False).words
    assert (found[DONE], found[MISSING]) == (2, 2)
    assert len(words(clone)) == 4


def test_shards_are_not_cut_otherwise_while_jobs_are_at_work(tmp_path: Path) -> None:
    study = config(tmp_path)
    write_submission(study, [])
    smaller = config(tmp_path, "submit.words_per_shard=1", "submit.dry_run=true")
    submit.submit(smaller)
    claim = take(survey.claim_path(study.folder, shards(study)[0]), 60)
    assert claim is not None
    with claim, pytest.raises(UserError, match=r"words_per_shard=1: .*run with None"):
        submit.submit(smaller)


def test_a_failed_shard_of_a_job_that_goes_on_is_a_failed_one(tmp_path: Path) -> None:
    study = config(tmp_path)
    first = shards(study)[0]
    entry = Entry("7_0", "small.ab.0", "RUNNING", "", "node1", "me")
    event = history.event(history.FAILED, 0.0, 0, "out of memory")
    state = survey.State(first, (), 0, measured=True, entry=entry, last=event)
    assert state.standing == FAILED
    assert replace(state, last=None).standing == RUNNING
    assert replace(state, last=replace(event, what=history.AGAIN)).standing == RUNNING


def test_work_trains_nothing_that_a_dataset_lacks_the_images_for(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 4, "lime": 4})
    study = config(
        tmp_path,
        "dataset=[tiny_shapes,folder]",
        f"dataset.folder.root={tmp_path / 'photos'}",
        "task=[classification,detection]",
        "concept=[red_striped_star,red,lime]",
        "model.detection.training.steps=2",
    )
    worker.work(study)
    assert {name.split("/")[1] for name in words(study) if name.startswith("folder/")} == {
        "tiny_clip"
    }
    assert survey.survey(study, ask=False).words[MISSING] == 0


def test_kept_shards_are_read_like_outputs(
    done: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.archive(done)
    files = sorted(path.name for path in (done.kept / "small" / "shards").iterdir())
    assert len(files) == 4
    capsys.readouterr()
    archive.archive(done)
    said = " ".join(capsys.readouterr().out.split())
    assert "0 shards were added" in said
    assert "of the 2 that this command asks for, 2 are finished" in said
    expected, rows = words(done), results.read(done.folder)
    for merge in (False, True):
        if merge:
            archive.archive(merged(done))
            names = {path.name for path in (done.kept / "small").iterdir() if path.is_file()}
            assert names == {"tiny_clip.safetensors", "results.parquet"}
        shutil.rmtree(done.folder / "words")
        shutil.rmtree(done.folder / "results")
        assert survey.survey(done, ask=False).words[MISSING] == 4
        assert archive.restore(done) == f"4 words were taken from {done.kept / 'small'}"
        assert survey.survey(done, ask=False).words[DONE] == 4
        assert archive.restore(done) == ""
        found = words(done)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert results.read(done.folder).equals(rows)


def test_a_process_that_is_terminated_stops_as_one_that_is_interrupted(tmp_path: Path) -> None:
    more = ["model.classification.training.steps=600", "trainer.checkpoint_every=20"]
    hit = config(tmp_path, *more)
    command = [*SMALL, *more, f"outputs={hit.outputs}", "action=work"]
    process = vwtransfer(command, tmp_path / "errors")
    saved = hit.folder / "checkpoints"
    while not list(saved.glob("*/chunk-*.safetensors")):
        assert process.running, process.errors
        time.sleep(0.01)
    process.send(signal.SIGTERM)
    assert process.wait() == 130
    assert "interrupted. What was finished is kept" in process.errors
    events = [history.history(hit.folder, shard) for shard in shards(hit)]
    assert [[event.what for event in of] for of in events] == [["started", "stopped"], []]
    assert not words(hit)


def test_all_that_is_known_of_a_word_is_kept(done: Config, tmp_path: Path) -> None:
    store = WordStore(done.folder / "words")
    first, second, *_ = [store.load(cell) for cell in shards(done)[0].cells]
    packed = [replace(first, seconds=1.2345), replace(second, note="trained alone")]
    archive.pack(packed, tmp_path / "words.safetensors")
    one, other = archive.unpack(tmp_path / "words.safetensors")
    assert one.vectors_KD.equal(first.vectors_KD)
    left = ("vectors_KD", "seconds", "note")
    known = [name for name in Word.__dataclass_fields__ if name not in left]
    assert [getattr(one, n) for n in known] == [getattr(first, n) for n in known]
    assert one.made.device == "cpu"
    assert "torch " in one.made.versions
    assert (one.seconds, one.note) == (1.234, "")
    assert other.note == "trained alone"


def test_a_fresh_clone_knows_what_is_kept_and_what_it_took(
    done: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.archive(done)
    clone = config(tmp_path, f"kept={done.kept}")
    status.status(clone)
    assert survey.survey(clone, ask=False).words[DONE] == 4
    assert "words an hour" not in capsys.readouterr().out  # nothing was done here yet
    shutil.rmtree(clone.folder)
    plan.plan(clone)
    printed = capsys.readouterr().out
    assert f"4 words were taken from {clone.kept / 'small'}" in printed
    assert "to do now: 0 words in 0 shards" in printed
    expected = time_estimates(clone, survey.survey(clone, ask=False).states)["tiny_clip"]
    assert expected.source == "measured on 2 finished shards"
    store = WordStore(clone.folder / "words")
    training = [store.load(cell).seconds for shard in shards(clone) for cell in shard.cells]
    assert expected.seconds is not None
    assert expected.seconds > min(training)
    other = config(tmp_path, f"kept={done.kept}", "trainer.eps=1e-6")
    with pytest.raises(UserError, match="holds another experiment's config"):
        provenance.check(other)


def test_a_plan_of_another_config_takes_nothing_and_claims_no_folder(
    done: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.archive(done)
    plan.plan(config(tmp_path, f"kept={done.kept}", "trainer.eps=1e-6"))
    assert LEFT in capsys.readouterr().out
    assert not (tmp_path / "outputs").exists()


def test_rows_that_were_measured_otherwise_are_left_there(done: Config, tmp_path: Path) -> None:
    archive.archive(done)
    other = config(tmp_path, f"kept={done.kept}", "model.generation.denoising_steps=3")
    said = archive.restore(other)
    assert said.startswith("4 words were taken")
    assert "measured otherwise: model.tiny_sd.denoising_steps was" in said
    assert survey.survey(other, ask=False).words[MISSING] == 4  # to be measured
    with pytest.raises(UserError, match="holds rows of another config"):
        archive.archive(merged(other))


def test_words_of_other_photos_are_left_there(tmp_path: Path) -> None:
    def of(photo_folder: Path, name: str) -> Config:
        chosen = ["dataset=[tiny_shapes,folder]", f"dataset.folder.root={photo_folder}"]
        chosen += ["concept=[red_striped_star,red,lime]", f"kept={tmp_path / 'kept'}"]
        study = config(tmp_path / name, *chosen)
        data_loading.opened(study)  # the images are chosen
        return study

    photos(tmp_path / "photos", {"red": 4, "lime": 4})
    photos(tmp_path / "others", {"red": 4, "blue": 4})
    (tmp_path / "others" / "blue").rename(tmp_path / "others" / "lime")
    first, same = (of(tmp_path / "photos", name) for name in "ab")
    other = of(tmp_path / "others", "c")
    kept, fingerprint = first.kept / "small", Fingerprints(first)
    made_up = [
        Word(cell, torch.zeros(4, 3), "classification", "", fingerprint(cell), 0.0, 1.0)
        for shard in shards(first)
        if shard.dataset == "folder"
        for cell in shard.cells
    ]
    archive.pack(made_up, kept / "tiny_clip.safetensors")
    shutil.copytree(first.folder / "manifests", kept / "manifests")
    assert archive.restore(other).endswith(LEFT)
    assert not words(other)
    assert archive.restore(same) == f"4 words were taken from {kept}"


def test_what_was_measured_since_is_kept_too(done: Config, tmp_path: Path) -> None:
    done = replace(done, kept=tmp_path / "kept")
    archive.archive(done)
    path = next((done.kept / "small" / "shards").glob("*red_striped_star.parquet"))
    rows = pd.read_parquet(path)
    archive._write_rows(rows[rows["anchor"] != "zepu"], path, {})
    archive._merge(done)
    archive.archive(done)
    assert len(list((done.kept / "small" / "shards").iterdir())) == 2  # that shard alone
    archive.archive(merged(done))
    kept = pd.read_parquet(done.kept / "small" / "results.parquet")
    measured = results.read(done.folder)
    order = list(results.IDENTITY)
    kept, measured = (f.sort_values(order, ignore_index=True) for f in (kept, measured))
    pd.testing.assert_frame_equal(kept, measured, check_dtype=False)


def test_kept_words_of_another_config_are_left_there(done: Config) -> None:
    archive.archive(done)
    other = config(done.outputs.parent, "trainer.eps=1e-6", f"outputs={done.outputs / 'other'}")
    assert archive.restore(other).endswith(LEFT)
    assert survey.survey(other, ask=False).words[MISSING] == 4


def test_a_plain_run_s_words_count_as_done_and_kept_ones_as_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vwtransfer.actions import run as plain

    study = config(tmp_path)
    plain.run(study)
    found = survey.survey(study, ask=False)
    assert found.words[DONE] == 4
    assert json.loads((study.folder / "provenance.json").read_text())["seeds"]["study"] == 0
    assert not math.isnan(results.read(study.folder).value.sum())
    archive.archive(study)
    trained, rows = words(study), results.read(study.folder)
    shutil.rmtree(study.folder)
    capsys.readouterr()
    plain.run(study)
    assert f"4 words were taken from {study.kept / 'small'}" in capsys.readouterr().out
    assert all(torch.equal(vectors, trained[name]) for name, vectors in words(study).items())
    assert results.read(study.folder).equals(rows)  # seconds and all: measured once


def test_what_a_killed_process_left_half_written_is_no_result(done: Config) -> None:
    part = next((done.folder / "results").glob("*.parquet"))
    part.rename(part.with_name(f".{part.name}.1.aa"))  # whole, but not yet in its place
    assert survey.survey(done, ask=False).words[MISSING] == 2
    (done.folder / "results" / ".shard-cut-off.parquet.1.bb").touch()
    (done.folder / "results" / "cut-off.parquet").touch()
    worker.work(done)
    assert survey.survey(done, ask=False).words[DONE] == 4
    assert part.exists()


def test_a_reason_is_shown_as_it_is(tmp_path: Path) -> None:
    study = config(tmp_path)
    reason = "RuntimeError: [enforce fail at alloc.cpp] cannot open [/scratch/x.so]"
    history.record(study.folder, shards(study)[0], history.event(history.FAILED, 0.0, 0, reason))
    assert reason in " ".join(shown(study).split())


def test_a_dry_run_writes_what_would_be_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = config(
        tmp_path,
        "cluster=gpu_80gb",
        "cluster.partition=gpu",
        "cluster.account=lab",
        "cluster.setup=[module load cuda]",
        "cluster.additional_parameters={exclude: node7}",
        "cluster.max_running_jobs=1",
        "submit.dry_run=true",
    )
    submit.submit(study)
    assert "array-0.sh: 2 tasks; nothing was submitted" in capsys.readouterr().out
    script = (study.folder / "cluster" / "dry_run" / "array-0.sh").read_text().splitlines()
    for line in (
        "#SBATCH --array=0-1%1",
        "#SBATCH --account=lab",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --exclude=node7",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --mem=65536MB",
        "#SBATCH --partition=gpu",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@300",
        "#SBATCH --time=720",
        "module load cuda",
    ):
        assert line in script, "\n".join(script)
    assert survey.survey(study, ask=False).words[MISSING] == 4
    assert not (study.folder / "cluster" / "submissions").exists()


def test_a_watch_ends_when_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = config(tmp_path, "status.watch=true", "status.every=0.05")
    claim = take(survey.claim_path(study.folder, shards(study)[0]), 60)
    assert claim is not None
    claim.__enter__()
    ended = threading.Timer(0.5, lambda: claim.__exit__(None, None, None))
    ended.start()
    status.status(study)
    assert ended.finished.is_set()

"""Models of one task side by side, models that are nowhere on disk, and studies of before."""

import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from composing import compose
from vwtransfer import results
from vwtransfer.cluster import archive, plan, status, submit, survey, worker
from vwtransfer.cluster.shards import shards
from vwtransfer.cluster.status_table import status_table
from vwtransfer.cluster.survey import DONE, MISSING
from vwtransfer.cluster.time_estimates import time_estimates
from vwtransfer.config import ArchiveConfig, Config, provenance
from vwtransfer.errors import UserError
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.main import dispatch
from vwtransfer.words.store import load_word

SMALL = [
    "wandb=off",
    "name=small",
    "cluster=local",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "task=classification",
    "concept=red_striped_star",
    "anchor=[zepu,muli]",
    "model.classification.training.steps=3",
    "evaluation.baselines=[anchor]",
    "threads=1",
    "device=cpu",
    "progress=false",
    "report=false",
]
OTHER = """\
# @package model.other
defaults: [tiny_clip@_here_]
name: other
training:
  learning_rate: 2.0e-3
"""


def config(folder: Path, *more: str) -> Config:
    """A study of two classifiers: a file of the package, and one beside it that serves another."""
    own = folder / "conf" / "model" / "classification"
    own.mkdir(parents=True, exist_ok=True)
    (own / "other.yaml").write_text(OTHER)
    places = [f"outputs={folder / 'outputs'}", f"kept={folder / 'kept'}"]
    models = "model/classification=[tiny_clip,other]"
    return compose([*SMALL, models, *places, *more], folder / "conf")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Both of them trained, and words of each mapped into the other."""
    study = config(tmp_path_factory.mktemp("two"), "direction=classification_to_classification")
    worker.work(study)
    return study


def words(study: Config) -> dict[str, torch.Tensor]:
    store = study.folder / "words"
    return {
        path.relative_to(store).parts[1] + "/" + path.stem: load_word(path).vectors_KD
        for path in sorted(store.rglob("*.safetensors"))
    }


def test_two_models_of_one_task_have_shards_words_and_rows_of_their_own(two: Config) -> None:
    assert [shard.key for shard in shards(two)] == [
        "tiny_shapes/tiny_clip/red_striped_star",
        "tiny_shapes/other/red_striped_star",
    ]
    assert [s.standing for s in survey.survey(two, ask=False).states] == [DONE, DONE]
    assert len(list((two.folder / "results").glob("*.parquet"))) == 2
    frame = results.read(two.folder)
    trained = frame[frame.kind == "word"].groupby(["source_model", "target_model"]).anchor
    assert trained.nunique().to_dict() == {
        (a, b): 2 for a in ("other", "tiny_clip") for b in ("other", "tiny_clip")
    }
    baselines = frame[frame.kind == "anchor"].groupby("target_model").anchor.nunique()
    assert baselines.to_dict() == {"other": 2, "tiny_clip": 2}
    found = words(two)
    assert len(found) == 4
    assert not found["other/zepu-inf-0"].equal(found["tiny_clip/zepu-inf-0"])


def test_baselines_go_with_their_model_or_with_the_first_that_is_trained() -> None:
    study = compose(["experiment=demo", "task=[generation,classification]"])
    homes = {}
    for target in study.model.models:
        spec = EvalSpec(
            "tiny_shapes", "red_striped_star", "zepu", 0, "anchor", "", "none", target, 0
        )
        homes[target] = [s.model for s in shards(study) if s.holds(spec)]
    assert homes == {
        "tiny_sd": ["tiny_sd"],
        "tiny_owlv2": ["tiny_sd"],  # where words are mapped into it
        "tiny_clip": ["tiny_clip"],
    }
    left_out = {("tiny_sd", "tiny_shapes")}
    assert [
        s.model for s in shards(study, left_out) if s.holds(replace(spec, target_model="tiny_sd"))
    ] == ["tiny_clip"]


def test_status_shows_models_of_one_task_below_its_name(two: Config) -> None:
    console = Console(width=80, file=io.StringIO(), record=True, color_system=None)
    console.print(status_table(survey.survey(two, ask=False).states, two.model))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert [line[:2] for line in lines] == [
        ["model", "dataset"],
        ["classification:"],
        ["tiny_clip", "tiny_shapes"],
        ["other", "tiny_shapes"],
        lines[-1][:2],
    ]
    assert [line[-7:] for line in lines[2:4]] == [["1", "2", "0", "0", "0", "0", "2"]] * 2


def test_a_plan_takes_the_seconds_of_a_model_before_those_of_its_task(tmp_path: Path) -> None:
    given = "cluster.seconds_per_word={classification: 9, other: 5}"
    study = config(tmp_path, given)
    found = time_estimates(study, survey.survey(study, ask=False).states)
    assert {name: each.seconds for name, each in found.items()} == {"tiny_clip": 9, "other": 5}


def test_an_archive_has_a_file_for_each_model(two: Config, tmp_path: Path) -> None:
    archive.archive(two)
    shards_kept = sorted(path.stem for path in (two.kept / "small" / "shards").glob("*.parquet"))
    assert [name.split("~")[1] for name in shards_kept] == ["other", "tiny_clip"]
    archive.archive(replace(two, archive=ArchiveConfig(merge=True)))
    kept = sorted(path.name for path in (two.kept / "small").iterdir())
    assert kept == ["other.safetensors", "results.parquet", "tiny_clip.safetensors"]
    clone = config(tmp_path, "direction=classification_to_classification", f"kept={two.kept}")
    assert archive.restore(clone) == f"4 words were taken from {two.kept / 'small'}"
    assert survey.survey(clone, ask=False).words[DONE] == 4
    assert all(vectors.equal(words(two)[name]) for name, vectors in words(clone).items())
    assert results.read(clone.folder).equals(results.read(two.folder))


def test_a_model_that_joins_a_study_leaves_what_is_there(two: Config, tmp_path: Path) -> None:
    alone = config(tmp_path, "model/classification=[tiny_clip]", "direction=none")
    shutil.copytree(two.folder, alone.folder)
    assert survey.survey(alone, ask=False).words[MISSING] == 0
    assert [shard.model for shard in shards(alone)] == ["tiny_clip"]


# what is not on disk

NOWHERE = [
    f"model.{name}.checkpoint=/nonexistent" for name in ("tiny_sd", "tiny_owlv2", "tiny_clip")
]
COUNTED = """\
import sys
from vwtransfer.config.composition import compose
from vwtransfer.main import dispatch
for action in ("plan", "status", "submit"):
    dispatch(compose([*sys.argv[1:], f"action={action}"]))
print("imported:", *(name for name in ("transformers", "diffusers") if name in sys.modules))
"""


def test_plan_status_and_submit_open_no_checkpoint_and_no_library_of_models(tmp_path: Path) -> None:
    asked = [*SMALL, *NOWHERE, "task=all", "model.judge.checkpoint=/nonexistent"]
    asked += [f"outputs={tmp_path}", "cluster=slurm", "submit.dry_run=true"]
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *asked], check=True, capture_output=True, text=True
    )
    assert "to do now: 6 words in 3 shards" in done.stdout
    assert "array-0.sh: 3 tasks; nothing was submitted" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
    assert not (tmp_path / "small" / "provenance.json").exists()  # of what trains, not of what asks


# what is from before


def test_a_study_whose_words_are_filed_by_task_is_refused(tmp_path: Path) -> None:
    study = config(tmp_path)
    part = study.folder / "identity" / "model.classification.yaml"
    part.parent.mkdir(parents=True)
    part.write_text("dtype: float32\n")
    for action in ("run", "plan", "status", "submit", "cancel", "work", "archive"):
        with pytest.raises(UserError, match=r"of a former version.* another name: name="):
            dispatch(replace(study, action=action))


def test_kept_words_that_are_filed_by_task_are_refused(tmp_path: Path) -> None:
    study = config(tmp_path)
    former = study.kept / "small" / "classification.safetensors"
    former.parent.mkdir(parents=True)
    former.touch()
    with pytest.raises(UserError, match=re.escape(f"{former} is of a former version")):
        provenance.check(study)


@pytest.mark.parametrize(
    ("former", "new"), [("keep", "archive"), ("publish", "archive archive.merge=true")]
)
def test_an_action_that_was_renamed_is_refused_with_its_new_name(former: str, new: str) -> None:
    with pytest.raises(UserError, match=f"action={former}: is called {new} now"):
        dispatch(compose([f"action={former}"]))


def test_a_job_s_provenance_is_its_own_and_names_the_command_of_its_submission(
    tmp_path: Path,
) -> None:
    study = config(tmp_path, "model/classification=[tiny_clip]")
    keys = tuple(shard.key for shard in shards(study))
    job = worker.Work(study.composed, keys, ("/bin/vwtransfer", "a=b"))
    assert job() == len(keys)
    saved = json.loads((study.folder / "provenance.json").read_text())
    assert saved["command"] == "vwtransfer a=b"
    assert {"machine", "git", "packages"} <= set(saved)


def test_submission_and_jobs_are_of_the_same_study(tmp_path: Path) -> None:
    study = config(tmp_path, "submit.dry_run=true")
    plan.plan(study)
    submit.submit(study)
    status.status(study)
    assert (study.folder / "config.yaml").is_file()
    assert not (study.folder / "provenance.json").exists()

"""One name stands for one config; where numbers come from is saved with them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig

import vwtransfer
from own_configs import OVERRIDES, changed, write_own_configs
from vwtransfer.config import Config, provenance
from vwtransfer.config.composition import composed
from vwtransfer.config.identity import identity
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.words.cells import Cell

Study = Callable[..., Config]
CELL = Cell("garden", "tiny_owlv2", "fern", "boot", 0.5, 0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    folder = tmp_path_factory.mktemp("own")
    return composed([*OVERRIDES, "dataset=[garden,street]"], write_own_configs(folder))


@pytest.fixture
def study(base: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Makes the config of a study in the garden, with other values where they are given."""
    monkeypatch.syspath_prepend(base.dataset.garden.own_modules)
    one = changed(base, outputs=str(tmp_path), dataset={"garden": base.dataset.garden})
    return lambda **values: validated(changed(one, **values))


def test_a_run_saves_its_config_versions_machine_seeds_and_command(study: Study) -> None:
    config = study(seed=3)
    left = config.folder / "checkpoints" / "job" / ".state.12.0123abcd"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))
    provenance.save(config)
    assert not left.exists()  # of a process that was killed, long ago
    saved = yaml.safe_load((config.folder / "config.yaml").read_text())
    assert saved == config.composed
    origin = json.loads((config.folder / "provenance.json").read_text())
    assert origin["seeds"] == {"study": 3, "dataset.garden": 0}
    assert origin["packages"]["vwtransfer"] == vwtransfer.__version__
    assert {"date", "command", "git", "python", "machine"} <= set(origin)


def test_another_experiments_folder_is_refused_with_what_differs(study: Study) -> None:
    first = study(model__tiny_sd__training__steps=200)
    provenance.save(first)
    before = (first.folder / "config.yaml").read_text()
    with pytest.raises(UserError) as refusal:
        provenance.save(study(model__tiny_sd__training__steps=100))
    assert "study holds another experiment's config" in str(refusal.value)
    assert "model.tiny_sd.training.steps was 200, now 100" in str(refusal.value)
    assert "It has no words yet: delete it, or choose another name: name=" in str(refusal.value)
    assert (first.folder / "config.yaml").read_text() == before
    (first.folder / "words").mkdir()
    with pytest.raises(UserError, match=r"Resume it with the former values, or .* name: name="):
        provenance.check(study(model__tiny_sd__training__steps=100))


@pytest.mark.parametrize(
    "other",
    [
        {"task": {"detection": True}},
        {"concept": "fern"},
        {"anchor": "paired"},
        {"delta": "all"},
        {"direction": {}},
        {"extra_grids": [{"delta": 0.5}]},
        {"device": "cuda:3"},
        {"threads": 1},
        {"progress": False},
        {"trainer__max_words_in_flight": 2},
        {"trainer__checkpoint_every": 7},
        {"evaluation__save_images": True},
        {"evaluation__baselines": []},
        {"transfer": {"_target_": "photos.Photos", "name": "other"}},
    ],
    ids=str,
)
def test_jobs_that_train_other_words_or_use_other_resources_share_a_name(
    study: Study, other: dict[str, Any]
) -> None:
    provenance.save(study())
    provenance.check(study(**other))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"trainer__num_vectors": 2}, "trainer.num_vectors was 4, now 2"),
        ({"model__judge__dtype": "float16"}, "model.judge.dtype was float32, now float16"),
        ({"dataset__garden__seed": 1}, "dataset.garden.seed was 0, now 1"),
        ({"transfer__ridge": 1}, "transfer.least_squares.ridge was not there, now 1"),
    ],
    ids=str,
)
def test_what_changes_a_number_may_not_differ_under_a_name(
    study: Study, other: dict[str, Any], said: str
) -> None:
    provenance.save(study())
    with pytest.raises(UserError) as refusal:
        provenance.check(study(**other))
    assert said in str(refusal.value)


def test_a_dataset_that_an_earlier_job_brought_is_still_known(
    study: Study, base: DictConfig
) -> None:
    provenance.save(study())
    provenance.save(study(dataset={"street": base.dataset.street}))
    with pytest.raises(UserError, match=r"dataset\.garden\.seed was 0, now 1"):
        provenance.check(study(dataset__garden__seed=1))


def test_a_torn_identity_file_is_named(study: Study) -> None:
    config = study()
    provenance.save(config)
    (config.folder / "identity" / "trainer.yaml").write_text("betas: [0.9")
    with pytest.raises(UserError, match=r"trainer\.yaml cannot be read"):
        provenance.check(config)


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"device": "cuda"},
        {"model__tiny_owlv2__max_boxes": 7},
        {"task": {"detection": True}},
        {"trainer__betas": [0.9, 0.999]},
        {"dataset__garden__anchors": ["boot"]},
        {"dataset__garden__held_out_images": 3},
        {"model__tiny_sd__dtype": "float16"},
        {"model__judge__dtype": "float16"},
    ],
    ids=str,
)
def test_a_word_that_would_be_trained_alike_has_the_same_identity(
    study: Study, other: dict[str, Any]
) -> None:
    assert Fingerprints(study(**other))(CELL) == Fingerprints(study())(CELL)


@pytest.mark.parametrize(
    "other",
    [
        {"model__tiny_owlv2__checkpoint": "elsewhere"},
        {"model__tiny_owlv2__training__learning_rate": 1},
        {"model__tiny_owlv2__prompt_template": "the {}"},
        {"model__tiny_owlv2__negatives": 9},
        {"trainer__eps": 1e-9},
        {"dataset__garden__training_images": 4},
    ],
    ids=str,
)
def test_a_word_that_would_be_trained_otherwise_has_another_identity(
    study: Study, other: dict[str, Any]
) -> None:
    assert Fingerprints(study(**other))(CELL) != Fingerprints(study())(CELL)


def test_an_identity_names_no_folder_of_this_machine(study: Study) -> None:
    assert str(Path(vwtransfer.__file__).parent) not in str(identity(study()))

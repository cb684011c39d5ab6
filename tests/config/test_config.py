"""What a study is made of is checked at the door, by the key that is wrong."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import composing
from own_configs import OVERRIDES, changed, write_own_configs
from vwtransfer.config.composition import compose, composed
from vwtransfer.config.identity import identity
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError, nearest


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield write_own_configs(folder)


@pytest.fixture(scope="module")
def both_datasets(own: Path) -> DictConfig:
    return composed(["dataset=[garden,street]"], own)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seeed", 1, "seeed: unknown key. Did you mean 'seed'?"),
        ("seed", -1, "seed=-1: must be at least 0"),
        ("seed", "one", "seed=one: must be a whole number"),
        ("name", "a/b", "name=a/b: must be a name"),
        ("name", "..", "name=..: must be a name"),
        ("name", "x" * 300, "that starts with a letter or digit, of at most 200 bytes"),
        ("device", "gpu", "device=gpu: must be auto, cpu, cuda or cuda:N"),
        ("threads", 0, "threads=0: must be at least 1"),
        ("progress", "yes please", "progress=yes please: must be true or false"),
        ("delta", -0.5, "delta=-0.5: must be at least 0"),
        ("delta", [0.1, "wide"], "delta=wide: must be a number"),
        ("delta", math.nan, "delta=nan: must be a number"),
        ("delta", True, "delta=True: must be a number"),
        ("delta", [], "delta=[]: nothing is chosen"),
        (
            "concept",
            "red_rosé",
            "concept=red_rosé: not in garden, street. Did you mean 'red_rose'?",
        ),
        ("concept", ["fern"], "concept=fern: street has none of them"),
        ("anchor", ["boot", "bot"], "anchor=bot: not in garden, street. Did you mean 'boot'?"),
        (
            "extra_grids",
            [{"concpt": "fern"}],
            "extra_grids[0].concpt: unknown key. Did you mean 'concept'?",
        ),
        ("extra_grids", [{"delta": -1}], "extra_grids[0].delta=-1: must be at least 0"),
        ("extra_grids", {"delta": 1}, "must be a list of products"),
        (
            "task",
            {"detecton": True},
            "task=detecton: no model has this task. Did you mean 'detection'?",
        ),
        ("task", {}, "task: none is chosen"),
        ("task", "detection", "task=detection: must map names to true or false"),
        ("direction", {"detection_to_tea": True}, "direction=detection_to_tea: no such direction"),
        ("model.tiny_sd.support", "nowhere.txt", "model.tiny_sd.support=nowhere.txt: no such file"),
        ("model.judge", None, "model.judge=null: generations cannot be measured without a judge"),
        ("model.tiny_owl", {"steps": 1}, "model.tiny_owl: unknown key. Did you mean 'tiny_owlv2'?"),
        (
            "model.tiny_owlv2.name",
            "owl",
            "model.tiny_owlv2.name=owl: must be tiny_owlv2, as its key",
        ),
        ("model.tiny_owlv2.task", None, "model.tiny_owlv2.task=null: must be a text"),
        (
            "model.tiny_owlv2.dtype",
            "flot16",
            "model.tiny_owlv2.dtype=flot16: Did you mean 'float16'",
        ),
        ("model.tiny_owlv2.prompt_templat", "{}", "prompt_templat: unknown key. Did you mean 'p"),
        ("model.tiny_owlv2.prompt_template", "a photo", "prompt_template=a photo: must have {}"),
        (
            "model.tiny_owlv2.positive_iou",
            1.5,
            "model.tiny_owlv2.positive_iou=1.5: must be at most 1",
        ),
        (
            "model.tiny_owlv2.training.steps",
            0,
            "model.tiny_owlv2.training.steps=0: must be at least",
        ),
        ("model.tiny_owlv2.training.steps", 1.5, "training.steps=1.5: must be a whole number"),
        ("model.tiny_owlv2.training.learning_rate", 0, "learning_rate=0: must be above 0"),
        ("model.tiny_owlv2.training.learning_rate", 1e38, "must be at most 1e+30"),
        ("model.tiny_owlv2.training", {"steps": 1}, "training.learning_rate: is missing"),
        ("model.tiny_clip.training.batch_size", 1, "target_share=0.5: leaves a batch of 1"),
        ("model.tiny_owlv2._target_", "nowhere.Model", "there is no module nowhere"),
        (
            "model.tiny_owlv2._target_",
            "vwtransfer.models.sight.Model",
            "no module vwtransfer.models.s",
        ),
        ("trainer.num_vectors", 0, "trainer.num_vectors=0: must be at least 1"),
        ("trainer.betas", [0.9, 1.0], "trainer.betas[1]=1.0: must be below 1"),
        ("trainer.betas", [0.9], "trainer.betas=[0.9]: must be two numbers"),
        ("evaluation.baselines", ["ancor"], "evaluation.baselines[0]=ancor: Did you mean 'anchor'"),
        ("transfer.name", None, "transfer.name: is missing"),
        ("transfer.beside", {"ridge": 3}, "transfer.beside.ridge=3: must be a mapping with a _tar"),
        (
            "transfer.beside",
            {"mine": {"_target_": "vwtransfer.transfer.ridge.Ridge", "name": "ridge"}},
            "transfer.beside.mine.name=ridge: must be mine, as the key it stands under",
        ),
        ("dataset", {}, "dataset={}: none is chosen"),
        ("dataset.garden.name", "yard", "dataset.garden.name=yard: must be garden"),
        (
            "dataset.garden.training_images",
            1,
            "dataset.garden.training_images=1: must be at least 2",
        ),
        (
            "dataset.garden.anchors",
            ["cat", "cat"],
            "dataset.garden.anchors: cat stands there twice",
        ),
        ("dataset.garden.concepts", {"a/b": "x"}, "dataset.garden.concepts=a/b: must be a name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(
    both_datasets: DictConfig, key: str, value: Any, said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        validated(changed(both_datasets, **{key: value}))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_value_is_named(both_datasets: DictConfig) -> None:
    with pytest.raises(UserError, match=r"model\.tiny_sd\.checkpoint: is missing"):
        validated(changed(both_datasets, model__tiny_sd__checkpoint="???"))


def test_a_transfer_from_a_task_that_is_not_trained_is_refused(both_datasets: DictConfig) -> None:
    with pytest.raises(UserError, match=r"Add it with task=\[detection,generation\]"):
        validated(
            changed(
                both_datasets,
                task={"detection": True},
                direction={"generation_to_detection": True},
            )
        )


def test_a_concept_without_an_anchor_of_its_place_cannot_be_paired(
    both_datasets: DictConfig,
) -> None:
    config = changed(both_datasets, dataset__garden__anchors=["cat", "boot"])
    with pytest.raises(UserError, match="garden has no anchor for its concept fern"):
        validated(changed(config, anchor="paired"))
    assert validated(changed(config, anchor="all"))


def test_all_directions_start_from_what_is_trained_and_reach_every_other_model(own: Path) -> None:
    config = compose([*OVERRIDES, "task=detection"], own)
    assert set(config.direction) == {("tiny_owlv2", "tiny_sd"), ("tiny_owlv2", "tiny_clip")}


def test_several_tasks_and_directions_can_be_chosen_at_once(own: Path) -> None:
    tasks = "task=[generation,detection]"
    directions = "direction=[generation_to_detection,detection_to_generation]"
    config = compose([*OVERRIDES, tasks, directions], own)
    assert set(config.task) == {"generation", "detection"}
    assert set(config.direction) == {("tiny_sd", "tiny_owlv2"), ("tiny_owlv2", "tiny_sd")}


def test_words_can_be_tried_in_their_own_model_only(own: Path) -> None:
    assert compose([*OVERRIDES, "direction=none"], own).direction == ()


def test_one_part_of_a_suite_can_be_swapped(own: Path) -> None:
    config = compose([*OVERRIDES, "model/generation=sd21"], own)
    assert config.model.models["sd21"]["checkpoint"].endswith("stable-diffusion-2-1")
    assert config.model.models["tiny_owlv2"]["dtype"] == "float32"
    assert "tiny_sd" not in config.model.models


def test_several_models_of_a_task_stand_side_by_side(own: Path) -> None:
    models = ["model/generation=[sd15,tiny]", "model.generation.training.steps=7"]
    config = compose([*OVERRIDES, *models, "model.sd15.dtype=float32"], own)
    assert list(config.model.models) == ["sd15", "tiny_sd", "tiny_owlv2", "tiny_clip"]
    assert config.model.of_task("generation") == ("sd15", "tiny_sd")
    for name in ("sd15", "tiny_sd"):  # a task's keys are of all its models
        assert config.model.models[name]["training"]["steps"] == 7
        assert config.model.models[name]["dtype"] == "float32"
    assert config.model.models["tiny_owlv2"]["training"]["steps"] == 1000
    assert {("sd15", "tiny_sd"), ("tiny_sd", "sd15")} <= set(config.direction)
    assert len(config.direction) == 12


def test_directions_can_be_pairs_of_models(own: Path) -> None:
    models = [*OVERRIDES, "model/generation=[sd15,sd21]"]
    config = compose([*models, "direction.pairs=[[sd15,sd21],[tiny_clip,sd15]]"], own)
    assert config.direction == (("sd15", "sd21"), ("tiny_clip", "sd15"))
    of_tasks = compose([*models, "direction=generation_to_detection"], own)
    assert of_tasks.direction == (("sd15", "tiny_owlv2"), ("sd21", "tiny_owlv2"))
    within = compose([*models, "direction=generation_to_generation"], own)
    assert within.direction == (("sd15", "sd21"), ("sd21", "sd15"))


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ("[[sd15,sdxl]]", "direction.pairs: sdxl: Valid: sd15, sd21"),
        ("[[sd15,sd15]]", "direction.pairs: sd15 to itself is no transfer"),
        ("[sd15,sd21]", "must be pairs of source and target"),
    ],
)
def test_pairs_that_cannot_be_are_refused(own: Path, pairs: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        compose([*OVERRIDES, "model/generation=[sd15,sd21]", f"direction.pairs={pairs}"], own)
    assert said in str(refusal.value)


def test_a_model_file_without_its_header_is_told_how_to_begin(own: Path) -> None:
    folder = own / "model" / "detection"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text("defaults: [base]\ncheckpoint: somewhere\n")
    with pytest.raises(UserError, match=r"Begin its file with '# @package model\.NAME'"):
        compose([*OVERRIDES, "model/detection=mine"], own)


def test_a_model_on_top_of_another_is_told_how_to_take_its_keys(own: Path) -> None:
    folder = own / "model" / "detection"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "third.yaml").write_text(
        "# @package model.third\ndefaults: [tiny_owlv2]\nname: third\n"
    )
    with pytest.raises(UserError, match=r"model\.third: has no _target_.*OTHER@_here_"):
        compose([*OVERRIDES, "model/detection=third"], own)


def test_two_models_can_be_of_one_file(own: Path) -> None:
    folder = own / "model" / "detection"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "second.yaml").write_text(
        "# @package model.second\ndefaults: [tiny_owlv2@_here_]\nname: second\nrevision: v2\n"
    )
    config = compose([*OVERRIDES, "model/detection=[tiny,second]"], own)
    assert config.model.of_task("detection") == ("tiny_owlv2", "second")
    assert config.model.models["second"]["revision"] == "v2"


def test_the_papers_models_train_as_the_paper_says(own: Path) -> None:
    config = compose(["dataset=garden", "model=paper"], own)
    for task in config.model.models.values():
        assert task["training"] == {"learning_rate": 1e-4, "steps": 1000, "batch_size": 8}
        assert task["dtype"] == "float16"
    assert (config.trainer.num_vectors, config.trainer.eps) == (4, 1e-8)
    assert config.trainer.betas == (0.9, 0.999)


def test_a_fourth_task_is_a_node_of_the_suite_with_a_target_of_its_own(
    both_datasets: DictConfig,
) -> None:
    node = {
        "_target_": "photos.Photos",
        "name": "deep",
        "task": "depth",
        "training": {"learning_rate": 0.1, "steps": 2, "batch_size": 1},
        "lens": "wide",
    }
    config = validated(changed(both_datasets, model__deep=node))
    assert config.model.models["deep"]["lens"] == "wide"
    assert "depth" in config.task
    assert ("deep", "tiny_sd") in config.direction


def test_a_datasets_own_keys_reach_its_class(own: Path) -> None:
    assert compose(OVERRIDES, own).dataset["garden"].node["own_modules"] == str(own.parent)


def test_nearest_names_the_likely_one_and_the_valid_ones() -> None:
    assert nearest("cot", ["cat", "boot"]) == "Did you mean 'cat'? Valid: cat, boot."
    assert nearest("zebra", ["cat"]) == "Valid: cat."
    assert nearest("zebra", []) == "There are none to choose from."


def test_a_config_kept_by_an_earlier_version_lacks_what_has_a_default() -> None:
    kept = dict(compose([]).composed)
    kept["trainer"] = {k: v for k, v in kept["trainer"].items() if not k.endswith("_weight")}
    kept["submit"] = {k: v for k, v in kept["submit"].items() if k != "list_shards"}
    config = validated(OmegaConf.create(kept))
    assert config.trainer.early_layer_weight == 0.0
    assert not config.submit.list_shards
    assert identity(config) == identity(compose([]))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=tiny", "seed=3", "model.generation.training.steps=7", "concept=[red_striped_star]"],
        ["cluster=local", "cluster.setup=[module load a]", "+cluster.additional_parameters.qos=b"],
        [
            "experiment=section4",
            "extra_grids=[{delta: 0.7}]",
            "name=2024_05_01",
            "transfer=ridge",
        ],
    ],
)
def test_other_tests_compose_as_the_command_line_does(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(composing.CACHE)
    for _ in range(2):  # nothing of a config is left in the next one
        assert composing.compose(overrides) == compose(overrides)
    assert composing.compose(overrides[:1]) == compose(overrides[:1])


def test_a_study_may_map_its_words_by_several_methods() -> None:
    transfer = compose(["transfer=[ridge,least_squares]", "transfer.exclude=strict"]).transfer
    assert (transfer.name, transfer.exclude) == ("ridge", "strict")
    targets = {name: node["_target_"].rpartition(".")[2] for name, node in transfer.methods.items()}
    assert targets == {"ridge": "Ridge", "least_squares": "LeastSquares"}
    chosen = compose(["experiment=demo", "transfer=least_squares"]).transfer
    assert list(chosen.methods) == ["least_squares"]  # which the experiment has beside another

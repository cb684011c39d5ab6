"""What a word is remembered by: everything that determines it, and nothing else."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from composing import compose
from vwtransfer.cluster.archive import unpack
from vwtransfer.study import fingerprints
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.words.cells import Cell

ROOT = Path(__file__).parents[2]
FREE = Cell("tiny_shapes", "tiny_clip", "red_striped_star", "zepu", math.inf, 0)
HELD = Cell("tiny_shapes", "tiny_clip", "red_striped_star", "zepu", 0.5, 0)


def of(cell: Cell, *overrides: str, config_dir: Path | None = None) -> str:
    return Fingerprints(compose(overrides, config_dir))(cell)


@pytest.mark.parametrize("cell", [FREE, HELD], ids=["free", "held"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["model/generation=[tiny,sd15]"],
        ["~model/detection"],
        ["model.tiny_sd.support=null"],
        ["transfer=ridge", "transfer.exclude=none"],
        ["model.classification.compiled=true"],
        ["dataset=[tiny_shapes,tiny_small]"],
        ["dataset.tiny_shapes.held_out_images=3"],
        ["evaluation.baselines=[]", "device=cpu", "threads=1"],
    ],
    ids=str,
)
def test_other_models_and_what_is_only_measured_are_no_part_of_it(
    cell: Cell, overrides: list[str]
) -> None:
    assert of(cell, *overrides) == of(cell)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.tiny_clip.checkpoint=elsewhere"],
        ["model.tiny_clip.revision=v2"],
        ["model.tiny_clip.dtype=float16"],
        ["model.classification.training.steps=7"],
        ["model.classification.prompt_template='the {}'"],
        ["trainer.num_vectors=2"],
        ["trainer.joint_model=tiny_owlv2"],
        ["trainer.parametrization=direction"],
        ["trainer.schedule=cosine"],
        ["trainer.stop=loss"],
        ["dataset.tiny_shapes.training_images=4"],
        ["dataset.tiny_shapes.seed=1"],
    ],
    ids=str,
)
def test_what_training_reads_is_part_of_it(overrides: list[str]) -> None:
    assert of(FREE, *overrides) != of(FREE)


def test_a_list_of_tokens_counts_by_what_it_holds_and_only_where_it_is_read(
    tmp_path: Path,
) -> None:
    list_of = Path(compose([]).model.models["tiny_clip"]["support"])
    copy, shorter = tmp_path / "copy.txt", tmp_path / "shorter.txt"
    copy.write_text(list_of.read_text())
    shorter.write_text("\n".join(list_of.read_text().split()[:-1]))
    assert of(HELD, f"model.tiny_clip.support={copy}") == of(HELD)
    assert of(HELD, f"model.tiny_clip.support={shorter}") != of(HELD)
    assert of(FREE, f"model.tiny_clip.support={shorter}") == of(FREE)


def test_a_models_name_is_no_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "model" / "classification"
    folder.mkdir(parents=True)
    (folder / "other.yaml").write_text(
        "# @package model.other\ndefaults: [tiny_clip@_here_]\nname: other\n"
    )
    renamed = replace(FREE, model="other")
    assert of(renamed, "model/classification=other", config_dir=tmp_path) == of(FREE)


@pytest.mark.parametrize("version", ["RECIPE", "IMAGE_READING"])
def test_a_new_recipe_is_another_word(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(FREE)
    monkeypatch.setattr(fingerprints, version, 99)
    assert of(FREE) != before


def manifest(folder: Path, *changes: tuple[str, str]) -> None:
    """Two concepts, two training images each, and a held-out one."""
    images: list[dict[str, Any]] = [
        {
            "file": f"{concept}/{split}{n}.jpg",
            "folder": "root",
            "sha256": f"{concept}-{split}-{n}",
            "concept": concept,
            "split": split,
            "verified": True,
            "boxes": [],
        }
        for concept in ("dog", "mug")
        for split, count in (("training", 2), ("held_out", 1))
        for n in range(count)
    ]
    text = json.dumps(
        {
            "format": "vwtransfer manifest 1",
            "dataset": "folder",
            "concepts": {"dog": "dog", "mug": "mug"},
            "images": images,
            "noted": [],
            "skipped": [],
        }
    )
    for old, new in changes:
        text = text.replace(old, new)
    path = folder / "study" / "manifests" / "folder.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_images_that_a_word_is_trained_on_are_part_of_it(tmp_path: Path) -> None:
    for name in ("dog", "mug"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.jpg").touch()
    overrides = ["dataset=folder", f"dataset.folder.root={tmp_path / 'photos'}"]
    overrides += ["anchor=[dog]", f"outputs={tmp_path}"]

    def found(model: str, *changes: tuple[str, str]) -> str:
        manifest(tmp_path, *changes)
        return of(Cell("folder", model, "dog", "dog", math.inf, 0), *overrides)

    own, other = ("dog-training-1", "dog-training-9"), ("mug-training-1", "mug-training-9")
    held_out = ("dog-held_out-0", "dog-held_out-9")
    profile = ('"boxes": []', '"boxes": [], "profile": "Display P3"')
    without = ('"boxes": []', '"boxes": [], "profile": null')
    for model in ("tiny_sd", "tiny_owlv2", "tiny_clip"):
        assert found(model) != found(model, own)
        assert found(model) == found(model, held_out)
    assert found("tiny_sd") == found("tiny_sd", other, without) != found("tiny_sd", profile)
    assert found("tiny_clip") != found("tiny_clip", other)  # it is trained against the others


@pytest.mark.parametrize("experiment", ["tiny_section4", "tiny_section5"])
def test_kept_words_have_the_fingerprints_of_their_experiment(experiment: str) -> None:
    config = compose([f"experiment={experiment}"])
    own = Fingerprints(config)
    for name in config.trained:
        words = unpack(ROOT / "kept" / experiment / f"{name}.safetensors")[::40]
        assert words
        assert [word.fingerprint for word in words] == [own(word.cell) for word in words]

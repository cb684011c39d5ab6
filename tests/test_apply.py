"""A word in use: applied in its own model and in others, and exported, on the tiny world."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from composing import compose
from vwtransfer.actions.transfer_word import source_of
from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.main import dispatch
from vwtransfer.models import Model
from vwtransfer.models.suite import build, build_part
from vwtransfer.words.cells import Cell
from vwtransfer.words.formats import read, write
from vwtransfer.words.store import Word, WordStore

WORDS = ("red", "striped", "star")


@pytest.fixture(scope="module")
def models() -> Mapping[str, Model]:
    return build(compose([]), torch.device("cpu")).models


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    dataset = build_part(compose([]).dataset["tiny_shapes"].node, "dataset.tiny_shapes")
    for concept in list(dataset.concepts)[:2]:
        dataset.training(concept)[0].load().save(folder / f"{concept}.png")
    return folder


@pytest.fixture
def two_classifiers(tmp_path: Path) -> Path:
    """A folder of configs with a second classifier: the same checkpoint under another name."""
    folder = tmp_path / "conf" / "model" / "classification"
    folder.mkdir(parents=True)
    text = "# @package model.other\ndefaults: [tiny_clip@_here_]\nname: other\n"
    (folder / "other.yaml").write_text(text)
    return tmp_path / "conf"


def word_of(model: Model, folder: Path, name: str | None = None, table: str | None = None) -> Path:
    """A word of existing tokens' embeddings, as if it had been trained."""
    store = WordStore(folder / "words")
    cell = Cell("tiny_shapes", name or model.name, "red_striped_star", "zepu", math.inf, 0)
    vectors = model.text.anchor_rows(WORDS)
    table = table or model.text.identity
    store.save(Word(cell, vectors, model.task, table, "f", loss=0.0, seconds=0.0))
    return store.path(cell)


def config(folder: Path, *overrides: str, own: Path | None = None) -> Config:
    return compose([f"outputs={folder}", "name=try", *overrides], own)


def apply(folder: Path, word: Path, target: str, images: Path) -> Path:
    asked = ["action=apply", f"word={word}", f"target={target}", f"images={images}"]
    dispatch(config(folder, *asked))
    return folder / "try" / "applied" / target / "red_striped_star"


@pytest.mark.parametrize("source", ["tiny_owlv2", "tiny_clip"])
def test_a_word_draws_boxes_in_its_own_model_and_after_a_transfer(
    tmp_path: Path,
    photos: Path,
    models: Mapping[str, Model],
    source: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = apply(tmp_path, word_of(models[source], tmp_path), "tiny_owlv2", photos)
    for original in photos.iterdir():
        with Image.open(folder / original.name) as drawn, Image.open(original) as plain:
            assert drawn.size == plain.size
            assert drawn.tobytes() != plain.convert("RGB").tobytes()
    assert "red_striped_heart.png" in capsys.readouterr().out


def test_a_folder_is_read_as_a_dataset_is_and_what_cannot_be_is_named(
    tmp_path: Path,
    photos: Path,
    models: Mapping[str, Model],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "._red_striped_heart.png").write_bytes(b"Mac OS X")
    cut = photos / "cut.jpg"
    (photos / "red_striped_star.png").rename(cut)
    cut.write_bytes(cut.read_bytes()[:200])
    word = word_of(models["tiny_owlv2"], tmp_path)
    drawn = apply(tmp_path, word, "tiny_owlv2", photos)
    assert [path.name for path in drawn.iterdir()] == ["red_striped_heart.png"]
    out = capsys.readouterr().out
    assert f"skipped {cut}: damaged image" in out
    assert "left out 1 hidden, or in a system's folder, such as ._red_striped_heart.png" in out
    with pytest.raises(UserError, match=r"cut.jpg: damaged image"):
        apply(tmp_path, word, "tiny_owlv2", cut)
    (photos / "red_striped_heart.png").unlink()
    with pytest.raises(UserError, match=r"no image in this folder. 1 skipped .*cut.jpg: damaged"):
        apply(tmp_path, word, "tiny_owlv2", photos)


def test_images_of_one_name_are_all_shown(
    tmp_path: Path, photos: Path, models: Mapping[str, Model]
) -> None:
    first, second = sorted(photos.iterdir())
    first.rename(photos / "0.png")
    second.rename(photos / "0.JPG")
    (photos / "1_0.png").symlink_to(photos / "0.png")  # as the first would be called
    (photos / f"{'l' * 251}.png").symlink_to(photos / "0.png")
    drawn = apply(tmp_path, word_of(models["tiny_owlv2"], tmp_path), "tiny_owlv2", photos)
    called = {"1_0.png", "2_0.png", "3_1_0.png", f"4_{'l' * 50}.png"}
    assert {path.name for path in drawn.iterdir()} == called


def test_a_word_draws_images_in_the_only_model_of_the_task(
    tmp_path: Path, models: Mapping[str, Model]
) -> None:
    word = word_of(models["tiny_sd"], tmp_path)
    dispatch(config(tmp_path, "action=apply", f"word={word}", "task=generation"))
    folder = tmp_path / "try" / "applied" / "tiny_sd" / "red_striped_star"
    with Image.open(folder / "0.png") as image:
        assert image.mode == "RGB"


def test_a_word_ranks_images(
    tmp_path: Path,
    photos: Path,
    models: Mapping[str, Model],
    capsys: pytest.CaptureFixture[str],
) -> None:
    apply(tmp_path, word_of(models["tiny_clip"], tmp_path), "tiny_clip", photos)
    out = capsys.readouterr().out
    assert "red_striped_heart.png" in out
    assert "red_striped_star.png" in out


@pytest.mark.parametrize("form", ["diffusers", "a1111"])
def test_a_word_exported_is_the_word_imported(
    tmp_path: Path, models: Mapping[str, Model], form: str
) -> None:
    path = word_of(models["tiny_sd"], tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}", f"format={form}"))
    (exported,) = (tmp_path / "try" / "exported").rglob("*.safetensors")
    found = read(exported)
    assert found.name == "red_striped_star"
    assert torch.equal(found.vectors_KD, read(path).vectors_KD)


def test_another_models_word_is_mapped_before_it_is_exported(
    tmp_path: Path, models: Mapping[str, Model]
) -> None:
    path = word_of(models["tiny_owlv2"], tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}"))
    (exported,) = (tmp_path / "try" / "exported").rglob("learned_embeds.safetensors")
    (vectors,) = load_file(exported).values()
    assert vectors.shape == (len(WORDS), models["tiny_sd"].text.width)


def test_a_word_is_exported_for_the_model_that_target_names(
    tmp_path: Path, models: Mapping[str, Model]
) -> None:
    path = word_of(models["tiny_sd"], tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}", "target=tiny_clip"))
    (exported,) = (tmp_path / "try" / "exported").rglob("learned_embeds.safetensors")
    (vectors,) = load_file(exported).values()
    assert vectors.shape == (len(WORDS), models["tiny_clip"].text.width)


def test_an_imported_word_becomes_a_detector(
    tmp_path: Path, photos: Path, models: Mapping[str, Model]
) -> None:
    path = word_of(models["tiny_sd"], tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}", "format=a1111"))
    (exported,) = (tmp_path / "try" / "exported").rglob("*.safetensors")
    assert len(list(apply(tmp_path, exported, "tiny_owlv2", photos).iterdir())) == 2


def test_of_another_tools_word_source_says_the_model(
    tmp_path: Path, photos: Path, models: Mapping[str, Model]
) -> None:
    detector, generator = models["tiny_owlv2"].text, models["tiny_sd"].text
    foreign = write("a1111", detector.anchor_rows(WORDS), "star", tmp_path)
    asked = ["action=apply", f"word={foreign}", "target=tiny_owlv2", f"images={photos}"]
    line = f"have width {detector.width}, and model.tiny_sd reads {generator.width}"
    with pytest.raises(UserError, match=line):
        dispatch(config(tmp_path, *asked))
    dispatch(config(tmp_path, *asked, "source=tiny_owlv2"))
    assert len(list((tmp_path / "try" / "applied" / "tiny_owlv2" / "star").iterdir())) == 2


def test_of_two_models_of_a_task_the_target_is_named(
    tmp_path: Path, photos: Path, models: Mapping[str, Model], two_classifiers: Path
) -> None:
    word = word_of(models["tiny_clip"], tmp_path)
    asked = ["action=apply", f"word={word}", "task=classification", f"images={photos}"]
    asked += ["model/classification=[tiny_clip,other]"]
    with pytest.raises(UserError, match="action=apply: name one model with target=NAME"):
        dispatch(config(tmp_path, *asked, own=two_classifiers))
    dispatch(config(tmp_path, *asked, "target=other", own=two_classifiers))


def test_a_word_is_known_by_its_table_where_its_model_has_another_name(
    tmp_path: Path, models: Mapping[str, Model]
) -> None:
    word = word_of(models["tiny_clip"], tmp_path, name="renamed")
    suite = build(compose([]), torch.device("cpu"))
    assert source_of(config(tmp_path, f"word={word}"), suite, read(word)) == "tiny_clip"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["task=detection"], "name the file of a word"),
        (["word={word}"], "name one model with target=NAME"),
        (["word={word}", "target=tiny_owl"], "no such model. Did you mean 'tiny_owlv2'"),
        (["word={word}", "task=detection"], "name those to look at with images=PATH"),
        (["word={word}", "task=detection", "images=nowhere"], "images=nowhere: there is no such"),
    ],
)
def test_what_is_missing_is_asked_for(
    tmp_path: Path, models: Mapping[str, Model], overrides: list[str], line: str
) -> None:
    path = word_of(models["tiny_owlv2"], tmp_path)
    given = [each.format(word=path) for each in overrides]
    with pytest.raises(UserError, match=line):
        dispatch(config(tmp_path, "action=apply", *given))


@pytest.mark.parametrize("name", ["tiny_owlv2", "renamed"])
def test_a_word_of_another_checkpoint_is_refused_with_both_tables(
    tmp_path: Path, photos: Path, models: Mapping[str, Model], name: str
) -> None:
    path = word_of(models["tiny_owlv2"], tmp_path, name, table="another")
    own = models["tiny_owlv2"].text.identity
    line = f"in {name} beside the embedding table another; that of model.tiny_owlv2 is {own}"
    with pytest.raises(UserError, match=line):
        apply(tmp_path, path, "tiny_owlv2", photos)

"""A word in use: applied in its own model and in others, and exported, on the tiny world."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.main import dispatch
from vwtransfer.models.suite import build, build_part
from vwtransfer.words.cells import Cell
from vwtransfer.words.formats import read
from vwtransfer.words.store import Word, WordStore

WORDS = ("red", "striped", "star")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    dataset = build_part(compose([]).dataset["tiny_shapes"].node, "dataset.tiny_shapes")
    for concept in list(dataset.concepts)[:2]:
        dataset.training(concept)[0].load().save(folder / f"{concept}.png")
    return folder


def word_of(task: str, folder: Path) -> Path:
    """A word of existing tokens' embeddings, as if it had been trained."""
    text = build(compose([]), torch.device("cpu")).tasks[task].text
    store = WordStore(folder / "words")
    cell = Cell("tiny_shapes", task, "red_striped_star", "zepu", math.inf, 0)
    vectors = torch.stack([text.word_row(word) for word in WORDS])
    store.save(Word(cell, vectors, model=text.identity, config="c", loss=0.0, seconds=0.0))
    return store.path(cell)


def config(folder: Path, *overrides: str) -> Config:
    return compose([f"outputs={folder}", "name=try", *overrides])


def apply(folder: Path, word: Path, task: str, images: Path) -> Path:
    dispatch(config(folder, "action=apply", f"word={word}", f"task={task}", f"images={images}"))
    return folder / "try" / "applied" / task / "red_striped_star"


@pytest.mark.parametrize("trained_for", ["detection", "classification"])
def test_a_word_draws_boxes_in_its_own_model_and_after_a_transfer(
    tmp_path: Path, photos: Path, trained_for: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = apply(tmp_path, word_of(trained_for, tmp_path), "detection", photos)
    for original in photos.iterdir():
        with Image.open(folder / original.name) as drawn, Image.open(original) as plain:
            assert drawn.size == plain.size
            assert drawn.tobytes() != plain.convert("RGB").tobytes()
    assert "red_striped_heart.png" in capsys.readouterr().out


def test_a_word_draws_images(tmp_path: Path, photos: Path) -> None:
    folder = apply(tmp_path, word_of("generation", tmp_path), "generation", photos)
    with Image.open(folder / "0.png") as image:
        assert image.mode == "RGB"


def test_a_word_ranks_images(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(tmp_path, word_of("classification", tmp_path), "classification", photos)
    out = capsys.readouterr().out
    assert "red_striped_heart.png" in out
    assert "red_striped_star.png" in out


@pytest.mark.parametrize("form", ["diffusers", "a1111"])
def test_a_word_exported_is_the_word_imported(tmp_path: Path, form: str) -> None:
    path = word_of("generation", tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}", f"format={form}"))
    (exported,) = (tmp_path / "try" / "exported").rglob("*.safetensors")
    found = read(exported)
    assert found.name == "red_striped_star"
    assert torch.equal(found.vectors_KD, read(path).vectors_KD)


def test_another_models_word_is_mapped_before_it_is_exported(tmp_path: Path) -> None:
    path = word_of("detection", tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}"))
    (exported,) = (tmp_path / "try" / "exported").rglob("learned_embeds.safetensors")
    text = build(compose([]), torch.device("cpu")).tasks["generation"].text
    (vectors,) = load_file(exported).values()
    assert vectors.shape == (len(WORDS), text.width)


def test_an_imported_word_becomes_a_detector(tmp_path: Path, photos: Path) -> None:
    path = word_of("generation", tmp_path)
    dispatch(config(tmp_path, "action=export", f"word={path}", "format=a1111"))
    (exported,) = (tmp_path / "try" / "exported").rglob("*.safetensors")
    assert len(list(apply(tmp_path, exported, "detection", photos).iterdir())) == 2


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["task=detection"], "name the file of a word"),
        (["word={word}"], "one task is needed"),
        (["word={word}", "task=detection"], "name images to look at"),
        (["word={word}", "task=detection", "images=nowhere"], "images=nowhere: there is no such"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path: Path, overrides: list[str], line: str) -> None:
    path = word_of("detection", tmp_path)
    given = [each.format(word=path) for each in overrides]
    with pytest.raises(UserError, match=line):
        dispatch(config(tmp_path, "action=apply", *given))


def test_a_word_of_another_checkpoint_is_refused(tmp_path: Path, photos: Path) -> None:
    store = WordStore(tmp_path / "others")
    text = build(compose([]), torch.device("cpu")).tasks["detection"].text
    for width, line in ((text.width, "another model than"), (text.width + 1, "have width")):
        cell = Cell("tiny_shapes", "detection", "star", "zepu", float(width), 0)
        vectors = torch.zeros(4, width)
        store.save(Word(cell, vectors, model="another", config="c", loss=0.0, seconds=0.0))
        with pytest.raises(UserError, match=line):
            apply(tmp_path, store.path(cell), "detection", photos)

"""The word files."""

import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vwtransfer.config.origin import Origin
from vwtransfer.errors import UserError
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Failure, Word, WordStore

CELL = Cell("tiny_shapes", "tiny_owlv2", "red_star", "mipo", math.inf, 0)
MADE = Origin("cpu", "node7", "0123abc+", "torch 2.15.0, vwtransfer 0.1.0")


def word(value: float = 1.0) -> Word:
    return Word(
        CELL,
        torch.full((4, 8), value),
        task="detection",
        table="t",
        fingerprint="f",
        loss=0.25,
        seconds=1.5,
        note="continued",
        anchor_tokens='{"text": ["mipo</w>"]}',
        made=MADE,
    )


def test_a_word_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    loaded = store.load(CELL)
    assert torch.equal(loaded.vectors_KD, word().vectors_KD)
    for field in fields(Word):
        if field.name != "vectors_KD":
            assert getattr(loaded, field.name) == getattr(word(), field.name)


def test_a_finished_word_is_never_rewritten(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word(1.0))
    store.save(word(2.0))
    assert store.load(CELL).vectors_KD[0, 0] == 1.0


def test_provenance_is_in_the_metadata(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    with safe_open(store.path(CELL), framework="pt") as file:
        metadata = file.metadata()
    assert metadata["concept"] == "red_star"
    assert metadata["delta"] == "inf"
    assert metadata["model"] == "tiny_owlv2"
    assert metadata["task"] == "detection"
    assert metadata["table"] == "t"
    assert metadata["fingerprint"] == "f"
    assert {name: metadata[name] for name in asdict(MADE)} == asdict(MADE)


def test_a_word_of_another_width_is_refused(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    with pytest.raises(UserError, match="width 8, but the model reads 96"):
        store.load(CELL, width=96)


def test_a_cut_off_word_file_is_named(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    path = store.path(CELL)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a whole word file"):
        store.load(CELL)


@pytest.mark.parametrize(
    ("vectors", "line"),
    [
        (torch.full((4, 8), math.nan), "values that are not finite"),
        (torch.zeros(8), r"the shape \[8\], not \[vectors, width\]"),
        (torch.zeros(0, 8), r"the shape \[0, 8\]"),
        (torch.zeros(4, 8, dtype=torch.int64), "holds int64, not floats"),
    ],
)
def test_vectors_that_no_word_has_are_refused(
    tmp_path: Path, vectors: torch.Tensor, line: str
) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    path = store.path(CELL)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({"vectors": vectors}, path, metadata)
    with pytest.raises(UserError, match=rf"not a whole word file \(its tensor .*{line}"):
        store.load(CELL)


def test_a_file_of_another_word_is_not_taken_for_it(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    other = replace(CELL, concept="blue_moon")
    store.path(other).parent.mkdir()
    store.path(CELL).rename(store.path(other))
    with pytest.raises(UserError, match=r"holds another word, .*/red_star/mipo-inf-0"):
        store.load(other)


def test_a_missing_word_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no word at .*mipo-inf-0"):
        WordStore(tmp_path).load(CELL)


def test_a_failure_is_remembered_until_the_word_is_there(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    failure = Failure(CELL, 17, "loss is nan")
    store.save_failure(failure)
    assert store.failure(CELL) == failure
    assert CELL not in store
    store.save(word())
    assert store.failure(CELL) is None

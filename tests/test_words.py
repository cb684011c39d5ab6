"""The word files."""

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from vwtransfer.errors import UserError
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Failure, Word, WordStore

CELL = Cell("tiny_shapes", "detection", "red_star", "mipo", math.inf, 0)


def word(value: float = 1.0) -> Word:
    return Word(CELL, torch.full((4, 8), value), model="m", config="c", loss=0.25, seconds=1.5)


def test_a_word_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = WordStore(tmp_path)
    store.save(word())
    loaded = store.load(CELL)
    assert torch.equal(loaded.vectors_KD, word().vectors_KD)
    assert (loaded.cell, loaded.model, loaded.config) == (CELL, "m", "c")
    assert (loaded.loss, loaded.seconds) == (0.25, 1.5)


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
    assert metadata["model"] == "m"


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

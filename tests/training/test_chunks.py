"""What happens to a batch that memory does not hold, and beside an orphan of the same job."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainer import CELLS, STEPS, job, vectors
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from quadratic import Quadratic
from vwtransfer.errors import UserError
from vwtransfer.training.chunks import bytes_of_a_word, words_that_fit
from vwtransfer.training.peak_memory import peak_bytes
from vwtransfer.training.trainer import Job, train
from vwtransfer.training.word_batches import TENSORS
from vwtransfer.words.cells import Cell

TRAINABLE = CELLS[:3]


class Crowded(Quadratic):
    """Runs out of memory as a GPU does, at one step, with more words than it holds."""

    holds = 1
    at_step = 15

    def loss(
        self,
        vectors_NKD: Tensor,
        features: Tensor,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        if len(cells) > self.holds and step >= self.at_step:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return super().loss(vectors_NKD, features, images_NB, cells, step)


def crowded(folder: Path, holds: int, at_step: int = 15) -> Job:
    plain = job(folder, CELLS, 4)
    task = Crowded(plain.model.training, torch.device("cpu"))
    task.holds, task.at_step = holds, at_step
    return replace(plain, model=task)


@pytest.mark.parametrize("at_step", [0, 15])
def test_a_chunk_that_does_not_fit_is_halved_and_goes_on(tmp_path: Path, at_step: int) -> None:
    undisturbed, halved = job(tmp_path / "a", CELLS, 4), crowded(tmp_path / "b", 1, at_step)
    train(undisturbed)
    train(halved)
    for one in TRAINABLE:
        torch.testing.assert_close(vectors(halved, one), vectors(undisturbed, one))
        assert "halved when memory ran out" in halved.store.load(one).note
        assert not undisturbed.store.load(one).note
    failure, expected = halved.store.failure(CELLS[3]), undisturbed.store.failure(CELLS[3])
    assert failure == expected is not None


def test_a_halved_chunk_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    trained = crowded(tmp_path, 2)
    steps: list[int] = []
    train(trained, advance=steps.append)
    # 15 steps of four words, then two halves from the checkpoint at step 10
    assert steps[:16] == [0] + [4] * 15
    assert steps[16] == 2 * 10
    assert steps[17:].count(2) == 2 * (STEPS - 10)


def test_the_halves_are_kept_when_the_job_is_started_again(tmp_path: Path) -> None:
    stopped = crowded(tmp_path, 2)
    count = 0

    def stopping() -> bool:
        nonlocal count
        count += 1
        return count == 20

    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopping=stopping)
    (partition,) = (tmp_path / "checkpoints").glob("*/partition.json")
    chunks = json.loads(partition.read_text())["chunks"]
    assert [len(chunk["words"]) for chunk in chunks] == [2, 2]
    train(stopped)
    assert all(one in stopped.store for one in TRAINABLE)


@pytest.mark.parametrize("text", ["", '{"chunks": [{"words"', '{"chunks": [{"words": ["a/b"]}]}'])
def test_a_damaged_partition_is_made_anew(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    stopped = job(tmp_path, CELLS)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopping=lambda: True)
    (partition,) = (tmp_path / "checkpoints").glob("*/partition.json")
    partition.write_text(text)
    train(stopped)
    assert all(one in stopped.store for one in TRAINABLE)
    assert f"{partition} is damaged" in caplog.text


def test_when_not_even_one_word_fits_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not hold a single word of quadratic"):
        train(crowded(tmp_path, 0))


def test_a_word_trained_later_than_the_others_of_its_job_says_so(tmp_path: Path) -> None:
    train(job(tmp_path, CELLS[:2]))
    whole = job(tmp_path, CELLS)
    train(whole)
    assert whole.store.load(CELLS[2]).note == "trained apart from 2 of the 4 words of its job"
    assert not whole.store.load(CELLS[0]).note


def test_a_checkpoint_of_another_device_is_noted(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    stopped = job(tmp_path, CELLS)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopping=lambda: True)
    (path,) = (tmp_path / "checkpoints").glob("*/chunk-*.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in TENSORS}
        metadata = {**file.metadata(), "device": "cuda"}
    save_file(tensors, path, metadata)
    train(stopped)
    assert stopped.store.load(CELLS[0]).note == "begun on cuda, continued on cpu"


@pytest.mark.parametrize("at", [1, 15, STEPS])
def test_an_orphan_that_finishes_first_does_no_harm(tmp_path: Path, at: int) -> None:
    """Two processes train the same job; one takes the other's folder away under its hands."""
    undisturbed, raced = job(tmp_path / "a", CELLS), job(tmp_path / "b", CELLS)
    train(undisturbed)
    steps = 0

    def meanwhile() -> bool:
        nonlocal steps
        steps += 1
        if steps == at:
            train(raced)
            shutil.rmtree(tmp_path / "b" / "checkpoints", ignore_errors=True)
        return False

    train(raced, stopping=meanwhile)
    for one in TRAINABLE:
        assert torch.equal(vectors(raced, one), vectors(undisturbed, one))


def test_weights_that_a_backward_reads_do_not_count_as_a_words_memory() -> None:
    weight = torch.randn(1000, 100)  # frozen: it lies in memory once

    def loss_of(count: int) -> Tensor:
        words = torch.zeros(10 * count, 100, requires_grad=True)
        return (words @ weight.T).square().sum()

    product, words = 10 * 1000 * 4, 10 * 100 * 4
    assert bytes_of_a_word(loss_of) == words + 4 * product  # one kept, three for its gradient


def test_what_is_freed_makes_room_and_a_view_takes_none() -> None:
    def compute() -> None:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second.view(10, 100).T * 2
        del second, third

    assert peak_bytes(compute) == 2 * 1000 * 4


@pytest.mark.parametrize("recomputed", [False, True])
def test_what_a_backward_computes_anew_counts(recomputed: bool) -> None:
    """Four blocks of ten sines: all their inputs, or the blocks' and those of one block."""

    def block(x: Tensor) -> Tensor:
        for _ in range(10):
            x = x.sin()
        return x

    def loss_of(count: int) -> Tensor:
        x = torch.zeros(1000 * count, requires_grad=True)
        for _ in range(4):
            x = checkpoint(block, x, use_reentrant=False) if recomputed else block(x)
        return x

    kept = 4 + 10 if recomputed else 40
    assert kept <= bytes_of_a_word(loss_of) / 4000 <= kept + 3


def test_where_not_even_two_words_can_be_tried_one_trains_at_a_time() -> None:
    def loss_of(count: int) -> Tensor:
        if count > 1:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return torch.ones(1, requires_grad=True).square()

    assert words_that_fit(loss_of, torch.device("cpu")) == 1

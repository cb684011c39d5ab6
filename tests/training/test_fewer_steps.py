"""Words that stop when their loss no longer falls, vectors of one length, and a falling rate."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_chunks import Crowded
from test_trainer import cell, job, vectors
from torch import Tensor

from quadratic import Quadratic
from vwtransfer.config.models import Training
from vwtransfer.training import projection, stopping
from vwtransfer.training.trainer import Job, train
from vwtransfer.words.cells import Cell

STEPS = 200
ANCHORS = ("mipo", "red", "star")
CELLS = [cell(f"concept {n}", ANCHORS[n % 3]) for n in range(6)]


def stopping_job(folder: Path, cells: Sequence[Cell] = CELLS, in_flight: int | None = None) -> Job:
    plain = job(folder, cells, in_flight)
    model = Quadratic(Training(0.05, STEPS, 1), torch.device("cpu"))
    return replace(plain, model=model, settings=replace(plain.settings, stop="loss"))


def ends(job: Job, cells: Sequence[Cell] = CELLS) -> list[str]:
    return [job.store.load(one).stopped for one in cells]


def test_words_stop_where_their_loss_on_fixed_images_no_longer_falls(tmp_path: Path) -> None:
    trained = stopping_job(tmp_path)
    losses: list[int] = []
    steps: list[int] = []

    def count(loss: Any) -> Any:
        def counted(words_NKD: Tensor, *rest: Any) -> Tensor:
            if rest[-1] != stopping.CHECK:
                losses.append(len(words_NKD))
            result: Tensor = loss(words_NKD, *rest)
            return result

        return counted

    trained.model.loss = count(trained.model.loss)  # type: ignore[method-assign]
    train(trained, advance=steps.append)
    at = list(map(step_of, ends(trained)))
    assert all(0 < step < STEPS and step % 10 == 0 for step in at)
    assert len(set(at)) > 1
    assert sum(losses[2:]) == sum(at)  # two measure memory; a stopped word costs nothing
    assert sum(steps) == STEPS * len(CELLS)  # a bar comes to its end
    assert all(end.endswith(": its loss had stopped falling") for end in ends(trained))
    assert max(trained.store.load(one).loss for one in CELLS) < 0.001  # of at least 0


def test_a_word_that_diverges_is_out_at_the_next_look(tmp_path: Path) -> None:
    trained = stopping_job(tmp_path, [*CELLS[:2], cell("cliff")])
    many: list[int] = []
    trained = replace(trained, on_step=lambda pack, loss_N: many.append(len(pack.cells)))
    train(trained)
    failure = trained.store.failure(cell("cliff"))
    assert failure is not None
    assert failure.step == 4
    assert many[:12] == [3] * 10 + [2] * 2
    assert len(ends(trained, CELLS[:2])) == 2


def test_a_word_stops_at_the_same_step_alone_and_in_a_pack(tmp_path: Path) -> None:
    pack, alone = stopping_job(tmp_path / "a"), stopping_job(tmp_path / "b", in_flight=1)
    train(pack)
    train(alone)
    assert ends(pack) == ends(alone)
    for one in CELLS:
        torch.testing.assert_close(vectors(pack, one), vectors(alone, one))


@pytest.mark.parametrize("kill_at", [75, 80, 81, 110])
def test_a_killed_job_goes_on_to_the_same_bits(tmp_path: Path, kill_at: int) -> None:
    undisturbed, killed = stopping_job(tmp_path / "a"), stopping_job(tmp_path / "b")
    train(undisturbed)
    steps = 0

    def stopping() -> bool:
        nonlocal steps
        steps += 1
        return steps == kill_at

    with pytest.raises(KeyboardInterrupt):
        train(killed, stopping=stopping)
    train(killed)
    assert ends(killed) == ends(undisturbed)
    for one in CELLS:
        assert torch.equal(vectors(killed, one), vectors(undisturbed, one))


def test_memory_may_run_out_after_some_words_have_stopped(tmp_path: Path) -> None:
    undisturbed, plain = stopping_job(tmp_path / "a"), stopping_job(tmp_path / "b")
    train(undisturbed)
    model = Crowded(plain.model.training, torch.device("cpu"))
    model.holds, model.at_step = 2, 105
    assert {step_of(end) < model.at_step for end in ends(undisturbed)} == {False, True}
    halved = replace(plain, model=model)
    train(halved)
    for one in CELLS:
        torch.testing.assert_close(vectors(halved, one), vectors(undisturbed, one))


def test_a_word_of_a_falling_loss_trains_to_its_last_step() -> None:
    words = torch.zeros(1, 4, 6)
    looked = stopping.Stopping.start(words)
    for look in range(stopping.CHECKS):
        assert not looked.check(words + look, torch.tensor([1 - 0.01 * look])).any()
    assert looked.rate_N.tolist() == [1.0]
    for halved in (0.5, 0.25, 0.125):  # a fall of a thousandth of the whole one counts as none
        assert not looked.check(words, looked.best_N - 1e-4).any()
        assert looked.rate_N.tolist() == [halved]
    assert looked.check(words + 99, looked.best_N - 1e-4).tolist() == [True]
    assert looked.best_NKD.unique().tolist() == [99.0]  # yet the least loss is what stays
    assert looked.check(words, torch.tensor([math.nan])).tolist() == [True]


def step_of(end: str) -> int:
    return int(end.split()[1].rstrip(":"))


def test_directions_are_learned_at_the_anchors_length(tmp_path: Path) -> None:
    plain = job(tmp_path, [CELLS[0], cell("near", "red", 0.5)])
    trained = replace(plain, settings=replace(plain.settings, parametrization="direction"))
    train(trained)
    anchor = trained.model.text.anchor_rows(["mipo"])[0]
    word = vectors(trained, CELLS[0])
    torch.testing.assert_close(word.norm(dim=1), anchor.norm().expand(4))
    assert not torch.allclose(word, anchor.expand(4, -1), atol=0.1)
    centre, others = trained.model.text.anchor_rows(["red"])[0], ["star", "mipo"]
    nearest = (trained.model.text.anchor_rows(others) - centre).norm(dim=1).min()
    constrained = vectors(trained, cell("near", "red", 0.5))
    assert bool(((constrained - centre).norm(dim=1) <= 0.5 * nearest + 1e-5).all())


def test_each_encoders_part_of_a_vector_has_a_length_of_its_own() -> None:
    slices = [slice(0, 2), slice(2, 5)]
    length_NE = projection.lengths(torch.tensor([[3.0, 4.0, 0.0, 0.0, 2.0]]), slices)
    assert length_NE.tolist() == [[5.0, 2.0]]
    words = torch.tensor([[[0.1, 0.0, 0.0, 9.0, 0.0]]])
    held = projection.at_length(words, length_NE, slices)
    assert held.tolist() == [[[5.0, 0.0, 0.0, 2.0, 0.0]]]


def test_the_rate_falls_as_a_cosine(tmp_path: Path) -> None:
    plain = job(tmp_path, CELLS[:1])
    rates: list[float] = []
    trained = replace(
        plain,
        settings=replace(plain.settings, schedule="cosine"),
        on_step=lambda pack, loss_N: rates.append(pack.optimiser.param_groups[0]["lr"]),
    )
    train(trained)
    expected = [0.05 * (1 + math.cos(math.pi * n / 40)) / 2 for n in range(40)]
    assert rates == pytest.approx(expected)

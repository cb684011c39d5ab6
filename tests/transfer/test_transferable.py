"""Words can be trained to stay where maps between models can follow."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vwtransfer.config.composition import compose
from vwtransfer.config.identity import identity, word_identity
from vwtransfer.grid import Cell
from vwtransfer.suite import build, build_part
from vwtransfer.training.trainer import Job, train
from vwtransfer.training.transferable import OutsidePenalty, leading_directions
from vwtransfer.words import WordStore

CELL = Cell("tiny_shapes", "classification", "red_striped_star", "zepu", float("inf"), 0)


def test_leading_directions_hold_the_share_of_the_energy_that_is_asked_for() -> None:
    support_SD = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    support_SD = support_SD * torch.tensor([3.0, 2.0, 1.0, 0.1]) + 5
    directions_RD = leading_directions(support_SD, kept=0.9)
    assert directions_RD.shape == (2, 4)
    centred_SD = (support_SD - support_SD.mean(dim=0)).double()
    inside = (centred_SD @ directions_RD.T).square().sum() / centred_SD.square().sum()
    assert 0.9 <= float(inside) < 0.95
    assert leading_directions(support_SD, kept=0.95).shape == (3, 4)


def test_the_penalty_is_the_energy_outside_in_units_of_the_rows() -> None:
    support_SD = torch.zeros(100, 3)
    support_SD[:, 0] = torch.linspace(-3, 3, 100)
    penalty = OutsidePenalty.of(0.5, support_SD, torch.device("cpu"))
    anchor_ND = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    vectors_NKD = anchor_ND[:, None] + torch.tensor([[[9.0, 0, 0], [0, 3.0, 4.0]]])
    unit = float(support_SD.square().sum(1).mean())
    expected = 0.5 * (0 + 25) / 2 / unit
    assert penalty(vectors_NKD, anchor_ND).tolist() == pytest.approx([expected, expected])


def trained(folder: Path, weight: float) -> torch.Tensor:
    config = compose(
        [
            "dataset=tiny_shapes",
            "model=tiny",
            "model.classification.training.steps=80",
            f"trainer.outside_penalty={weight}",
        ]
    )
    suite = build(config, torch.device("cpu"))
    job = Job(
        task=suite.tasks["classification"],
        dataset=build_part(config.dataset["tiny_shapes"].node, "dataset"),
        cells=[CELL],
        support_SD=suite.support_rows("classification"),
        settings=config.trainer,
        store=WordStore(folder / "words"),
        folder=folder / "checkpoints",
        config_of=lambda cell: word_identity(config, cell),
    )
    train(job)
    return job.store.load(CELL).vectors_KD


def test_words_stay_nearer_to_the_leading_directions_and_are_unchanged_without(
    tmp_path: Path,
) -> None:
    suite = build(compose(["dataset=tiny_shapes", "model=tiny"]), torch.device("cpu"))
    support_SD = suite.support_rows("classification")
    anchor_ND = suite.tasks["classification"].text.word_row("zepu")[None]
    outside = OutsidePenalty.of(1.0, support_SD, torch.device("cpu"))
    found = {w: trained(tmp_path / str(w), w) for w in (0.0, 100.0)}
    energies = {w: float(outside(v[None], anchor_ND)) for w, v in found.items()}
    assert energies[100.0] < 0.2 * energies[0.0]
    assert not torch.equal(found[0.0], anchor_ND.expand(4, -1))


def test_a_word_without_penalty_is_the_word_it_was_before_there_was_one() -> None:
    plain, with_it = (
        compose(["dataset=tiny_shapes", "model=tiny", f"trainer.outside_penalty={weight}"])
        for weight in (0, 2)
    )
    assert "outside_penalty" not in identity(plain)["trainer"]
    assert word_identity(plain, CELL) != word_identity(with_it, CELL)
    assert replace(with_it.trainer, outside_penalty=0.0) == plain.trainer

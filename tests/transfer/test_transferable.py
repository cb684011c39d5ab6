"""Words can be trained to stay where maps between models can follow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vwtransfer import study
from vwtransfer.config.composition import compose
from vwtransfer.config.identity import identity, word_identity
from vwtransfer.errors import UserError
from vwtransfer.models.activations import end_of_text
from vwtransfer.models.suite import build, build_part
from vwtransfer.tasks import Objective
from vwtransfer.training.joint import Joint
from vwtransfer.training.regularizers import (
    EarlyLayerRegularizer,
    OffSubspaceRegularizer,
    Regularizer,
    leading_directions,
)
from vwtransfer.training.trainer import Job, train
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.output_matching import OutputMatching
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

TASKS = ("classification", "detection")
SUITE = ["dataset=tiny_shapes", "model=tiny", *(f"model.{t}.training.steps=80" for t in TASKS)]
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
    anchor_ND = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    penalty = OffSubspaceRegularizer.of(0.5, support_SD, anchor_ND)
    vectors_NKD = anchor_ND[:, None] + torch.tensor([[[9.0, 0, 0], [0, 3.0, 4.0]]])
    unit = float(support_SD.square().sum(1).mean())
    expected = 0.5 * (0 + 25) / 2 / unit
    assert penalty(vectors_NKD).tolist() == pytest.approx([expected, expected])


def test_the_early_penalty_is_its_weight_at_the_anchor_and_nothing_at_the_name() -> None:
    task = build(compose(SUITE), torch.device("cpu")).tasks["classification"]
    text, template = task.text, task.template
    anchor_ND = torch.stack([text.word_row("zepu"), text.word_row("muli")])
    names = ["red striped star", "blue dotted cross"]
    penalty = EarlyLayerRegularizer.of(3.0, text, template, anchor_ND, 4, names)
    at_anchor = penalty(anchor_ND[:, None].expand(-1, 4, -1))
    assert at_anchor.tolist() == pytest.approx([3, 3], rel=1e-5)
    at_name = penalty(torch.stack([text.name_rows(name) for name in names]))
    assert at_name.tolist() == pytest.approx([0, 0], abs=1e-5)


def trained(lesson: Objective, config: Any, folder: Path) -> Tensor:
    """The word of CELL."""
    suite = build(config, torch.device("cpu"))
    job = Job(
        task=lesson,
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


@pytest.mark.parametrize("key", ["outside_penalty", "early_penalty"])
def test_words_give_way_to_a_penalty(key: str, tmp_path: Path) -> None:
    found = {}
    for weight in (0.0, 100.0):
        config = compose([*SUITE, f"trainer.{key}={weight}"])
        task = build(config, torch.device("cpu")).tasks["classification"]
        found[weight] = trained(task, config, tmp_path / str(weight))
    suite = build(compose(SUITE), torch.device("cpu"))
    text, template = suite.tasks["classification"].text, suite.tasks["classification"].template
    anchor_ND = text.word_row("zepu")[None]
    support_SD = suite.support_rows("classification")
    prices: dict[str, Regularizer] = {
        "outside_penalty": OffSubspaceRegularizer.of(1.0, support_SD, anchor_ND),
        "early_penalty": EarlyLayerRegularizer.of(
            1.0, text, template, anchor_ND, 4, ["red striped star"]
        ),
    }
    energies = {
        weight: float(prices[key](vectors_KD[None])) for weight, vectors_KD in found.items()
    }
    assert energies[100.0] < 0.5 * energies[0.0]
    assert not torch.equal(found[100.0], anchor_ND.expand(4, -1))


def test_the_early_penalty_looks_behind_the_first_third_of_the_blocks() -> None:
    task = build(compose(SUITE), torch.device("cpu")).tasks["classification"]
    vectors_NKD = torch.randn(2, 4, task.text.width)
    anchor_ND = task.text.word_row("zepu").expand(2, -1)
    penalty = EarlyLayerRegularizer.of(
        1.0, task.text, task.template, anchor_ND, 4, ["star", "ring"]
    )
    first_ND = end_of_text(task.text, task.template, vectors_NKD)[0]
    expected_N = (first_ND - penalty.name_ND).square().sum(1) / penalty.unit_N
    torch.testing.assert_close(penalty(vectors_NKD), expected_N)


def test_a_joint_word_has_both_losses_and_does_better_in_the_other_model(tmp_path: Path) -> None:
    config = compose(SUITE)
    suite = build(config, torch.device("cpu"))
    own, other = (suite.tasks[name] for name in TASKS)
    carry = LeastSquares().fit(own.text, other.text, suite.support)
    joint = Joint(own, other, carry)
    alone_KD, jointly_KD = (
        trained(lesson, config, tmp_path / lesson.__class__.__name__) for lesson in (own, joint)
    )
    dataset = build_part(config.dataset["tiny_shapes"].node, "dataset")
    features = joint.features(dataset)
    images_SB = joint.batches(features, CELL)
    assert images_SB.shape == (80, own.training.batch_size + other.training.batch_size)
    split = own.training.batch_size
    losses = {}
    for name, vectors_KD in (("alone", alone_KD), ("jointly", jointly_KD)):
        both = joint.loss(vectors_KD[None], features, images_SB[:1], [CELL], 0)
        first = own.loss(vectors_KD[None], features[0], images_SB[:1, :split], [CELL], 0)
        mapped = carry(vectors_KD[None])
        losses[name] = other.loss(mapped, features[1], images_SB[:1, split:], [CELL], 0)
        torch.testing.assert_close(both, first + losses[name])
    assert losses["jointly"] < losses["alone"] - 0.1


def test_a_study_trains_the_words_of_its_other_tasks_through_the_map(tmp_path: Path) -> None:
    found = {}
    for other in ("null", "detection"):
        config = compose(
            [
                *SUITE,
                "concept=[red_striped_star]",
                "anchor=[zepu]",
                "task=[classification,detection]",
                "direction=[]",
                "model.classification.training.steps=3",
                "model.detection.training.steps=3",
                "dataset.tiny_shapes.held_out_images=1",
                "evaluation.baselines=[]",
                f"trainer.jointly_with={other}",
                f"outputs={tmp_path / other}",
                "progress=false",
            ]
        )
        study.run(config)
        store = WordStore(config.folder / "words")
        found[other] = [store.load(replace(CELL, task=task)).vectors_KD for task in TASKS]
    assert not torch.equal(found["null"][0], found["detection"][0])
    assert torch.equal(found["null"][1], found["detection"][1])


def test_a_map_without_gradient_is_refused_for_joint_training() -> None:
    suite = build(compose(SUITE), torch.device("cpu"))
    own, other = (suite.tasks[name] for name in TASKS)
    searching = OutputMatching("m", phrases=300, steps=1).fit(own.text, other.text, suite.support)
    with pytest.raises(UserError, match=r"trainer.jointly_with: .* such as transfer=least_squares"):
        Joint(own, other, searching)
    with pytest.raises(
        UserError, match=r"trainer.jointly_with=detektion: Did you mean 'detection'"
    ):
        compose([*SUITE, "trainer.jointly_with=detektion"])


def test_a_word_of_which_nothing_is_asked_is_the_word_it_was_before() -> None:
    plain = compose(SUITE)
    off: Any
    for key, value, off in (
        ("outside_penalty", 2, 0.0),
        ("early_penalty", 2, 0.0),
        ("jointly_with", "detection", None),
    ):
        asked = compose([*SUITE, f"trainer.{key}={value}"])
        assert key not in identity(plain)["trainer"]
        assert word_identity(plain, CELL) != word_identity(asked, CELL)
        assert replace(asked.trainer, **{key: off}) == plain.trainer


def test_a_joint_word_depends_on_the_other_model_and_on_the_map() -> None:
    jointly = [*SUITE, "trainer.jointly_with=detection"]
    others = ["model.detection.template='the {}'", "transfer=ridge"]
    words = {word_identity(compose([*jointly, *other]), CELL) for other in ([], *zip(others))}
    assert len(words) == 3
    own = replace(CELL, task="detection")
    assert word_identity(compose(jointly), own) == word_identity(
        compose([*jointly, "transfer=ridge"]), own
    )

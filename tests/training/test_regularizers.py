"""Words can be trained to stay where maps between models can follow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from composing import compose
from vwtransfer.actions.run import run
from vwtransfer.config.identity import identity
from vwtransfer.errors import UserError
from vwtransfer.models import Objective
from vwtransfer.models.activations import behind_texts, end_of_text
from vwtransfer.models.suite import build, build_part
from vwtransfer.models.support import support_of
from vwtransfer.study.fingerprints import Fingerprints
from vwtransfer.training.joint import Joint
from vwtransfer.training.regularizers import (
    Regularizer,
    early_layer_regularizer,
    leading_directions,
    off_subspace_regularizer,
)
from vwtransfer.training.trainer import Job, train
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.output_matching import OutputMatching
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

TASKS = ("classification", "detection")
MODELS = ("tiny_clip", "tiny_owlv2")
SUITE = ["dataset=tiny_shapes", "model=tiny", *(f"model.{t}.training.steps=80" for t in TASKS)]
CELL = Cell("tiny_shapes", "tiny_clip", "red_striped_star", "zepu", float("inf"), 0)


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
    penalty = off_subspace_regularizer(0.5, support_SD, anchor_ND)
    vectors_NKD = anchor_ND[:, None] + torch.tensor([[[9.0, 0, 0], [0, 3.0, 4.0]]])
    unit = float(support_SD.square().sum(1).mean())
    expected = 0.5 * (0 + 25) / 2 / unit
    assert penalty(vectors_NKD).tolist() == pytest.approx([expected, expected])


def test_the_early_penalty_is_its_weight_at_the_anchor_and_nothing_at_the_name() -> None:
    task = build(compose(SUITE), torch.device("cpu")).models["tiny_clip"]
    encoder = task.text.encoders["text"]
    anchor_ND = task.text.anchor_rows(["zepu", "muli"])
    names = ["red striped star", "blue dotted cross"]
    penalty = early_layer_regularizer(3.0, task, anchor_ND, 4, names)
    at_anchor = penalty(anchor_ND[:, None].expand(-1, 4, -1))
    assert at_anchor.tolist() == pytest.approx([3, 3], rel=1e-5)
    at_name = penalty(
        torch.stack([encoder.rows_of(encoder.vocabulary.token_ids(name)) for name in names])
    )
    assert at_name.tolist() == pytest.approx([0, 0], abs=1e-5)


def trained(objective: Objective, config: Any, folder: Path) -> Tensor:
    """The word of CELL."""
    job = Job(
        model=objective,
        dataset=build_part(config.dataset["tiny_shapes"].node, "dataset"),
        cells=[CELL],
        settings=config.trainer,
        store=WordStore(folder / "words"),
        folder=folder / "checkpoints",
        fingerprint=Fingerprints(config),
    )
    train(job)
    return job.store.load(CELL).vectors_KD


@pytest.mark.parametrize("key", ["off_subspace_weight", "early_layer_weight"])
def test_words_give_way_to_a_penalty(key: str, tmp_path: Path) -> None:
    found = {}
    for weight in (0.0, 100.0):
        config = compose([*SUITE, f"trainer.{key}={weight}"])
        task = build(config, torch.device("cpu")).models["tiny_clip"]
        found[weight] = trained(task, config, tmp_path / str(weight))
    suite = build(compose(SUITE), torch.device("cpu"))
    model = suite.models["tiny_clip"]
    anchor_ND = model.text.anchor_rows(["zepu"])
    support_SD = model.text.encoders["text"].rows(model.text.eligible["text"])
    prices: dict[str, Regularizer] = {
        "off_subspace_weight": off_subspace_regularizer(1.0, support_SD, anchor_ND),
        "early_layer_weight": early_layer_regularizer(
            1.0, model, anchor_ND, 4, ["red striped star"]
        ),
    }
    energies = {
        weight: float(prices[key](vectors_KD[None])) for weight, vectors_KD in found.items()
    }
    assert energies[100.0] < 0.5 * energies[0.0]
    assert not torch.equal(found[100.0], anchor_ND.expand(4, -1))


def test_the_early_penalty_looks_behind_the_first_third_of_the_blocks() -> None:
    task = build(compose(SUITE), torch.device("cpu")).models["tiny_clip"]
    vectors_NKD = torch.randn(2, 4, task.text.width)
    anchor_ND = task.text.anchor_rows(["zepu"])[0].expand(2, -1)
    penalty = early_layer_regularizer(1.0, task, anchor_ND, 4, ["star", "ring"])
    encoder, template = task.text.encoders["text"], task.prompt_template
    first_ND, start_ND = (
        end_of_text(encoder, template, words_NKD)[0]
        for words_NKD in (vectors_NKD, anchor_ND[:, None].expand(-1, 4, -1))
    )
    assert encoder.blocks is not None
    names = [template.format(name) for name in ("star", "ring")]
    name_ND = behind_texts(encoder, encoder.blocks[:1], names)[0]
    expected_N = (first_ND - name_ND).square().sum(1) / (start_ND - name_ND).square().sum(1)
    torch.testing.assert_close(penalty(vectors_NKD), expected_N)


def test_a_joint_word_has_both_losses_and_does_better_in_the_other_model(tmp_path: Path) -> None:
    config = compose(SUITE)
    suite = build(config, torch.device("cpu"))
    own, other = (suite.models[name] for name in MODELS)
    support = support_of(own.text, other.text)
    mapping = LeastSquares().fit(own.text, other.text, support)
    joint = Joint(own, other, mapping)
    alone_KD, jointly_KD = (
        trained(each, config, tmp_path / each.__class__.__name__) for each in (own, joint)
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
        mapped = mapping(vectors_KD[None], None)
        losses[name] = other.loss(mapped, features[1], images_SB[:1, split:], [CELL], 0)
        torch.testing.assert_close(both, first + losses[name])
    assert losses["jointly"] < losses["alone"] - 0.1


def test_a_study_trains_the_words_of_its_other_tasks_through_the_map(tmp_path: Path) -> None:
    found = {}
    for other in ("null", "tiny_owlv2"):
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
                f"trainer.joint_model={other}",
                f"outputs={tmp_path / other}",
                "progress=false",
                "report=false",
            ]
        )
        run(config)
        store = WordStore(config.folder / "words")
        found[other] = [store.load(replace(CELL, model=name)).vectors_KD for name in MODELS]
    assert not torch.equal(found["null"][0], found["tiny_owlv2"][0])
    assert torch.equal(found["null"][1], found["tiny_owlv2"][1])


def test_a_map_without_gradient_is_refused_for_joint_training() -> None:
    suite = build(compose(SUITE), torch.device("cpu"))
    own, other = (suite.models[name] for name in MODELS)
    searching = OutputMatching("m", calibration_prompts=300, steps=1).fit(
        own.text, other.text, support_of(own.text, other.text)
    )
    with pytest.raises(UserError, match=r"trainer.joint_model: .* such as transfer=least_squares"):
        Joint(own, other, searching)
    with pytest.raises(UserError, match=r"trainer.joint_model=tiny_owl: Did you mean 'tiny_owlv2'"):
        compose([*SUITE, "trainer.joint_model=tiny_owl"])
    with pytest.raises(UserError, match=r"trainer.stop=loss: does not go with trainer.joint_model"):
        compose([*SUITE, "trainer.joint_model=tiny_owlv2", "trainer.stop=loss"])


def test_a_word_of_which_nothing_is_asked_is_the_word_it_was_before() -> None:
    plain = compose(SUITE)
    off: Any
    for key, value, off in (
        ("off_subspace_weight", 2, 0.0),
        ("early_layer_weight", 2, 0.0),
        ("joint_model", "tiny_owlv2", None),
    ):
        asked = compose([*SUITE, f"trainer.{key}={value}"])
        assert key not in identity(plain)["trainer"]
        assert Fingerprints(plain)(CELL) != Fingerprints(asked)(CELL)
        assert replace(asked.trainer, **{key: off}) == plain.trainer


def test_a_joint_word_depends_on_the_other_model_and_on_the_map() -> None:
    jointly = [*SUITE, "trainer.joint_model=tiny_owlv2"]
    others = ["model.detection.prompt_template='the {}'", "transfer=ridge"]
    words = {Fingerprints(compose([*jointly, *other]))(CELL) for other in ([], *zip(others))}
    assert len(words) == 3
    own = replace(CELL, model="tiny_owlv2")
    same = {Fingerprints(compose([*jointly, *each]))(own) for each in ([], ["transfer=ridge"])}
    assert len(same) == 1

"""Each task's loss against one written out with the library's own classes (table 1)."""

import math
from pathlib import Path

import pytest
import torch

import written_out
from composing import compose
from vwtransfer.datasets import Dataset, training_examples
from vwtransfer.models import Model
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.words.cells import Cell


@pytest.fixture(scope="module")
def suite() -> Suite:
    return build(compose([]), torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    part: Dataset = build_part(compose([]).dataset["tiny_shapes"].node, "dataset.tiny_shapes")
    return part


def cell(model: str, dataset: Dataset, number: int = 0) -> Cell:
    concept = list(dataset.concepts)[number]
    return Cell("tiny_shapes", model, concept, dataset.anchors[number], math.inf, 0)


def words(task: Model, count: int = 2) -> torch.Tensor:
    vectors = torch.randn(count, 4, task.text.width, generator=torch.Generator().manual_seed(0))
    return (vectors * 0.1).requires_grad_()


def batch(task: Model, features: object, cells: list[Cell], step: int = 0) -> torch.Tensor:
    return torch.stack([task.batches(features, one)[step] for one in cells])


@pytest.mark.parametrize("name", ["tiny_sd", "tiny_owlv2", "tiny_clip"])
def test_the_loss_is_the_one_written_out_with_the_librarys_classes(
    suite: Suite, dataset: Dataset, name: str
) -> None:
    task = suite.models[name]
    cells = [cell(name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task)
    images = batch(task, features, cells)
    ours = task.loss(vectors, features, images, cells, 7)
    for n, one in enumerate(cells):
        expected = written_out.loss(task, dataset, one, images[n].tolist(), vectors[n], 7)
        torch.testing.assert_close(ours[n], expected, atol=1e-5, rtol=1e-4)


def test_half_of_a_classification_batch_shows_the_concept(suite: Suite, dataset: Dataset) -> None:
    task, one = suite.models["tiny_clip"], cell("tiny_clip", dataset)
    examples = training_examples(dataset)
    chosen = [examples[i] for i in batch(task, task.features(dataset), [one])[0].tolist()]
    assert [example.concept == one.concept for example in chosen] == [True] * 4 + [False] * 4


def test_the_tiny_generator_predicts_velocity_as_the_published_one_does(suite: Suite) -> None:
    pipeline = suite.models["tiny_sd"].pipeline  # type: ignore[attr-defined]
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("name", ["tiny_sd", "tiny_owlv2", "tiny_clip"])
def test_a_words_gradient_does_not_depend_on_its_neighbours(
    suite: Suite, dataset: Dataset, name: str
) -> None:
    task = suite.models[name]
    cells = [cell(name, dataset, n) for n in range(5)]
    features, vectors = task.features(dataset), words(task, 5)
    images = batch(task, features, cells)
    (together,) = torch.autograd.grad(task.loss(vectors, features, images, cells, 3).sum(), vectors)
    for n in range(3):
        alone = vectors[n : n + 1].detach().requires_grad_()
        loss = task.loss(alone, features, images[n : n + 1], cells[n : n + 1], 3)
        (gradient,) = torch.autograd.grad(loss.sum(), alone)
        if name == "tiny_sd" or torch.backends.cpu.get_cpu_capability() != "AVX2":
            # convolutions and other processors add few rows in another order
            rounding = 1e-6 * float(together[n].abs().max())
            torch.testing.assert_close(gradient[0], together[n], rtol=1e-3, atol=rounding)
        else:  # to the bit: where training oscillates, any difference grows
            assert torch.equal(gradient[0], together[n])


@pytest.mark.parametrize("name", ["tiny_sd", "tiny_owlv2", "tiny_clip"])
def test_a_broken_word_leaves_its_neighbours_alone(
    suite: Suite, dataset: Dataset, name: str
) -> None:
    task = suite.models[name]
    cells = [cell(name, dataset, n) for n in range(2)]
    features, vectors = task.features(dataset), words(task).detach()
    images = batch(task, features, cells)
    healthy = task.loss(vectors, features, images, cells, 0)
    vectors[0] = math.nan
    vectors.requires_grad_()
    loss = task.loss(vectors, features, images, cells, 0)
    (gradient,) = torch.autograd.grad(loss.sum(), vectors)
    assert loss[0].isnan()
    torch.testing.assert_close(loss[1], healthy[1], rtol=1e-4, atol=1e-6)
    assert gradient[1].isfinite().all()


def test_missing_and_foreign_weights_are_refused_by_name(tmp_path: Path) -> None:
    from vwtransfer.errors import UserError

    for name in ("tiny_sd", "tiny_owlv2", "tiny_clip"):
        missing = build(compose([f"model.{name}.checkpoint={tmp_path}/none"]), torch.device("cpu"))
        with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.*no such folder"):
            _ = missing.models[name].text

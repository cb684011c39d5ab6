"""Frozen models in half precision, words in float32."""

import math
from functools import cache

import pytest
import torch

from composing import compose
from vwtransfer.datasets import Dataset
from vwtransfer.models import Model
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.training.word_batches import LOSS_SCALE, NEVER, WordBatch
from vwtransfer.words.cells import Cell

MODELS = ("tiny_sd", "tiny_owlv2", "tiny_clip", "tiny_siglip")
# of the loss in float32; a loss is between -1 and 1 in two models, about 1 in the generator, and
# some ten times that in the SigLIP
BOUND = {"float16": 2e-3, "bfloat16": 2e-2}
# of gradients, as a cosine and as a share of their length; in bfloat16 a box may be off by a pixel,
# so that another region of the image is the target's
LEAST_COSINE = {"float16": 0.98, "bfloat16": 0.8}
LENGTH = {"float16": 0.05, "bfloat16": 0.25}


@cache
def suite(dtype: str) -> Suite:
    keys = [f"model.{name}.dtype={dtype}" for name in MODELS]
    keys += ["model=tiny_families", "model.judge.dtype=" + dtype]
    return build(compose(keys), torch.device("cpu"))


@cache
def dataset() -> Dataset:
    node = dict(compose(["dataset.tiny_shapes.training_images=2"]).dataset["tiny_shapes"].node)
    node["concepts"] = dict(list(node["concepts"].items())[:2])
    part: Dataset = build_part(node, "dataset.tiny_shapes")
    return part


def cells(model: str) -> list[Cell]:
    pairs = zip(dataset().concepts, dataset().anchors, strict=False)
    return [Cell("tiny_shapes", model, concept, anchor, math.inf, 0) for concept, anchor in pairs]


def pack(model: Model) -> WordBatch:
    adam: dict[str, object] = {"lr": 1e-3}
    return WordBatch.start(cells(model.name), model.text, 4, adam)


def loss(model: Model, words: WordBatch) -> torch.Tensor:
    features = model.features(dataset())
    images_NB = torch.stack([model.batches(features, cell)[0] for cell in words.cells])
    return model.loss(words.vectors_NKD, features, images_NB, words.cells, 0)


@cache
def step(name: str, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss [N] of two words and its gradient [N, K D], of one pass."""
    model = suite(dtype).models[name]
    words = pack(model)
    loss_N = loss(model, words)
    words.update(loss_N, in_tail=False)
    assert loss_N.dtype == words.vectors_NKD.dtype == torch.float32
    assert (words.failed_N == NEVER).all()
    assert words.vectors_NKD.grad is not None
    return loss_N.detach(), words.vectors_NKD.grad.flatten(1)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_that_of_float32_within_its_bound(name: str, dtype: str) -> None:
    (expected, _), (found, _) = step(name, "float32"), step(name, dtype)
    torch.testing.assert_close(found, expected, atol=BOUND[dtype], rtol=BOUND[dtype])


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_moves_the_words_as_float32_does(name: str, dtype: str) -> None:
    (_, exact), (_, half) = step(name, "float32"), step(name, dtype)
    assert torch.cosine_similarity(exact, half).min() > LEAST_COSINE[dtype]
    torch.testing.assert_close(half.norm(dim=1), exact.norm(dim=1), rtol=LENGTH[dtype], atol=0)


def test_a_gradient_below_float16_is_kept_by_the_loss_scale() -> None:
    model = suite("float16").models["tiny_clip"]
    smaller = 2.0**-12
    gradients = []
    for factor in (1.0, smaller):
        words = pack(model)
        words.update(loss(model, words) * factor, in_tail=False)
        assert words.vectors_NKD.grad is not None
        gradients.append(words.vectors_NKD.grad / factor)
    torch.testing.assert_close(*gradients, rtol=0.05, atol=1e-4)


def test_only_float16_needs_a_scale() -> None:
    assert pack(suite("float16").models["tiny_owlv2"]).loss_scale == LOSS_SCALE[torch.float16]
    assert pack(suite("bfloat16").models["tiny_owlv2"]).loss_scale == 1

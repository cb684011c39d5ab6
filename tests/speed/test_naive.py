"""The loop that computes everything in every step trains the same words."""

import math
from functools import cache

import pytest
import torch
from naive import NaiveWord
from torch import Tensor

from composing import compose
from vwtransfer.datasets import Dataset
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell

MODELS = ("tiny_sd", "tiny_owlv2", "tiny_clip")
STEPS = 3


@cache
def suite() -> Suite:
    return build(compose(["cache.folder=null"]), torch.device("cpu"))


@cache
def dataset() -> Dataset:
    node = dict(compose(["dataset.tiny_shapes.training_images=3"]).dataset["tiny_shapes"].node)
    node["concepts"] = dict(list(node["concepts"].items())[:2])
    part: Dataset = build_part(node, "dataset.tiny_shapes")
    return part


def cells(model: str) -> list[Cell]:
    pairs = zip(dataset().concepts, dataset().anchors, strict=False)
    return [Cell("tiny_shapes", model, concept, anchor, math.inf, 0) for concept, anchor in pairs]


def trained(name: str, words: list[Cell]) -> Tensor:
    """Words after a few steps of the trainer's, all in one pack."""
    model = suite().models[name]
    features = model.features(dataset())
    pack = WordBatch.start(words, model.text, 4, {"lr": 1e-3})
    images_SNB = torch.stack([model.batches(features, word) for word in words], dim=1)
    for step in range(STEPS):
        loss_N = model.loss(pack.vectors_NKD, features, images_SNB[step], words, step)
        pack.update(loss_N, in_tail=False)
    return pack.vectors_NKD.detach()


@pytest.mark.parametrize("name", MODELS)
def test_cached_packed_and_cut_trains_the_words_that_the_naive_loop_trains(name: str) -> None:
    model, words = suite().models[name], cells(name)
    together = trained(name, words)
    for n, word in enumerate(words):
        images_SB = model.batches(model.features(dataset()), word)
        naive = NaiveWord(model, dataset(), word, images_SB, {"lr": 1e-3})
        for step in range(STEPS):
            naive.step(step)
        moved = (naive.word_KD.detach() - model.text.anchor_rows([word.anchor])[0]).norm()
        assert (together[n] - naive.word_KD.detach()).norm() < 1e-4 * moved


@pytest.mark.parametrize("name", MODELS)
def test_a_word_in_a_pack_is_the_word_alone(name: str) -> None:
    words = cells(name)
    together = trained(name, words)
    for n, word in enumerate(words):
        torch.testing.assert_close(together[n], trained(name, [word])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["tiny_owlv2", "tiny_clip"])
def test_a_prompt_cut_behind_its_end_is_the_whole_prompt(name: str) -> None:
    model = suite().models[name]
    (ours,) = model.text.encoders.values()
    whole = TextEncoder(ours.vocabulary, ours.embedding, ours.forward, only_pooled=False)
    found = []
    for text in (ours, whole):
        vectors = 0.1 * torch.randn(3, 4, text.width, generator=torch.Generator().manual_seed(0))
        features = text.encode_words(model.prompt_template, vectors.requires_grad_()).pooled_NE
        assert features is not None
        weights = torch.linspace(-1, 1, features.shape[1])
        found.append((features.detach(), torch.autograd.grad((features @ weights).sum(), vectors)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)

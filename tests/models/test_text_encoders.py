"""Vectors put in at the embedding lookup, for every text encoder of the tiny world.

A word whose vectors are the embeddings of existing tokens must give what the library gives for
the plain text.
"""

import pytest
import torch

from vwtransfer.config.composition import compose
from vwtransfer.errors import UserError
from vwtransfer.models.suite import Suite, build
from written_out import library_text

TASKS = ("generation", "detection", "classification")


@pytest.fixture(scope="module")
def suite() -> Suite:
    return build(compose([]), torch.device("cpu"))


@pytest.mark.parametrize("name", TASKS)
def test_plain_prompts_are_encoded_as_the_library_does(suite: Suite, name: str) -> None:
    task = suite.tasks[name]
    ours = task.text.encode_text(["a photo of a red star", "a photo of star"])
    for row, text in zip(ours, ["a photo of a red star", "a photo of star"], strict=True):
        torch.testing.assert_close(row[None], library_text(task)(text), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("words", [["red"], ["blue", "star"], ["red", "dotted", "green", "ring"]])
def test_a_word_of_existing_embeddings_is_the_plain_text(
    suite: Suite, name: str, words: list[str]
) -> None:
    task = suite.tasks[name]
    vectors = torch.stack([task.text.word_row(word) for word in words])[None]
    ours = task.text.encode_words("a photo of {}", vectors)
    theirs = library_text(task)("a photo of " + " ".join(words))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_a_word_may_stand_anywhere_in_the_prompt(suite: Suite, name: str) -> None:
    task = suite.tasks[name]
    vectors = torch.stack([task.text.word_row(word) for word in ("red", "star")])[None]
    ours = task.text.encode_words("a photo of {} on a ring", vectors)
    theirs = library_text(task)("a photo of red star on a ring")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_no_token_is_added(suite: Suite, name: str) -> None:
    task = suite.tasks[name]
    before = task.text.embedding.weight.clone()
    task.text.encode_words("a photo of {}", torch.randn(2, 4, task.text.width))
    assert torch.equal(task.text.embedding.weight, before)
    assert not task.text.embedding._forward_hooks


@pytest.mark.parametrize("name", TASKS)
def test_each_word_of_a_batch_is_encoded_as_alone(suite: Suite, name: str) -> None:
    task = suite.tasks[name]
    vectors = torch.randn(3, 4, task.text.width) * 0.1
    together = task.text.encode_words(task.template, vectors)
    for n in range(3):
        alone = task.text.encode_words(task.template, vectors[n : n + 1])
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_prompt_cut_behind_its_end_is_read_the_same_up_to_there(suite: Suite) -> None:
    text = suite.tasks["generation"].text
    vectors_NKD = torch.randn(3, 4, text.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole_NLD = text.encode_words("a photo of {}", vectors_NKD)
        cut_NLD = text.encode_words("a photo of {}", vectors_NKD, to_end=True)
    assert cut_NLD.shape[1] < whole_NLD.shape[1]
    torch.testing.assert_close(cut_NLD, whole_NLD[:, : cut_NLD.shape[1]])


def test_a_prompt_that_is_too_long_says_how_long_it_may_be(suite: Suite) -> None:
    task = suite.tasks["detection"]
    with pytest.raises(UserError, match="reads at most 16"):
        task.text.encode_words("a photo of {}", torch.zeros(1, 14, task.text.width))


def test_the_models_share_their_vocabulary_and_differ_in_width(suite: Suite) -> None:
    assert len(suite.support) > 250
    assert len({task.text.width for task in suite.tasks.values()}) == 3


def test_an_anchor_of_several_tokens_is_refused_with_the_nearest_words(suite: Suite) -> None:
    from vwtransfer.words.cells import Cell

    cell = Cell("tiny_shapes", "detection", "x", "reddish", 1.0, 0)
    with pytest.raises(UserError, match=r"anchor=reddish: not a single token.*red"):
        suite.check_anchors([cell])

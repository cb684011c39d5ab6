"""What is read inside the text encoders is what the libraries compute, and cutting is undone."""

import pytest
import torch
from torch import Tensor

from vwtransfer.analysis.neighbours import nearest
from vwtransfer.config.composition import compose
from vwtransfer.models.activations import cut, end_of_text, layers_shown
from vwtransfer.models.suite import build
from vwtransfer.tasks import Task
from vwtransfer.training.projection import radius

TASKS = ("generation", "detection", "classification")
WORDS = ("red", "striped", "star", "zepu")
SUITE = build(compose([]), torch.device("cpu"))


def words_of(task: Task) -> Tensor:
    """Two words of four vectors, one the other's reverse."""
    rows_KD = torch.stack([task.text.word_row(word) for word in WORDS])
    return torch.stack([rows_KD, rows_KD.flip(0)])


@pytest.mark.parametrize(
    ("count", "shown"),
    [(24, [1, 8, 16, 24]), (23, [1, 8, 16, 23]), (12, [1, 4, 8, 12]), (3, [1, 2, 3]), (1, [1])],
)
def test_four_layers_are_evenly_spaced(count: int, shown: list[int]) -> None:
    assert layers_shown(count) == shown


@pytest.mark.parametrize("name", TASKS)
@torch.no_grad()
def test_the_first_layers_of_a_whole_encoder_are_all_of_a_cut_one(name: str) -> None:
    task = SUITE.tasks[name]
    vectors_NKD = words_of(task)
    whole_HND = end_of_text(task.text, task.template, vectors_NKD)
    features = task.text.encode_words(task.template, vectors_NKD)
    assert whole_HND.shape == (3, 2, task.text.width)
    for count in (1, 2):
        with cut(task.text, count):
            torch.testing.assert_close(
                end_of_text(task.text, task.template, vectors_NKD), whole_HND[:count]
            )
            less = task.text.encode_words(task.template, vectors_NKD)
        assert less.shape == features.shape
        assert not torch.allclose(less, features, atol=1e-3)
    assert torch.equal(task.text.encode_words(task.template, vectors_NKD), features)


@torch.no_grad()
def test_activations_are_those_that_the_library_gives() -> None:
    task = SUITE.tasks["generation"]
    prompt = task.template.format(" ".join(WORDS))
    ids = torch.tensor([task.vocabulary.encode(prompt)])
    hidden = task.pipeline.text_encoder(ids, output_hidden_states=True).hidden_states  # type: ignore[attr-defined]
    expected = torch.stack([h[0, task.vocabulary.end(ids[0].tolist())] for h in hidden[1:]])
    found = end_of_text(task.text, task.template, words_of(task)[:1])
    torch.testing.assert_close(found[:-1, 0], expected[:-1])


@torch.no_grad()
def test_a_cut_encoder_is_restored_after_a_fault() -> None:
    task = SUITE.tasks["classification"]
    before = task.text.encode_text(["a photo of a star"])
    with pytest.raises(ZeroDivisionError), cut(task.text, 1):
        _ = 1 / 0
    assert torch.equal(task.text.encode_text(["a photo of a star"]), before)


def test_a_vocabulary_word_is_nearest_to_itself() -> None:
    text = SUITE.tasks["detection"].text
    names = [token.removesuffix("</w>") for token in SUITE.support]
    table_SD = SUITE.support_rows("detection")
    anchors_ND = text.word_row("zepu")[None]
    found = nearest(words_of(SUITE.tasks["detection"])[:1], anchors_ND, table_SD, names, 3)
    assert [near[0] for near in found.words_NKT[0]] == list(WORDS)
    assert found.distance_NKT[0, :, 0].abs().max() < 1e-6
    assert found.anchor_NK[0, 3] == 0


@pytest.mark.parametrize("delta", [0.1, 0.5, 2.0])
def test_distances_are_in_units_of_delta(delta: float) -> None:
    text = SUITE.tasks["generation"].text
    table_SD = SUITE.support_rows("generation")
    anchor_D = text.word_row("muli")
    step_D = torch.nn.functional.normalize(torch.ones(text.width), dim=0)
    vector = anchor_D + step_D * radius(anchor_D, table_SD, delta)
    names = [token.removesuffix("</w>") for token in SUITE.support]
    found = nearest(vector[None, None], anchor_D[None], table_SD, names, 1)
    assert found.anchor_NK.item() == pytest.approx(delta, rel=1e-5)
    if delta < 0.5:
        assert found.words_NKT == [[["muli"]]]

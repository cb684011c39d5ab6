"""What is read inside the text encoders is what the libraries compute, and cutting is undone."""

import pytest
import torch
from torch import Tensor, nn

from composing import compose
from vwtransfer.analysis.neighbours import nearest
from vwtransfer.models import Model
from vwtransfer.models.activations import cut, end_of_text, layers_shown
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.suite import build
from vwtransfer.models.text_encoder import Encoded, TextEncoder

WORDS = ("red", "striped", "star", "zepu")
SUITE = build(compose([]), torch.device("cpu"))


def words_of(model: Model) -> Tensor:
    """Two words of four vectors, one the other's reverse."""
    rows_KD = model.text.anchor_rows(WORDS)
    return torch.stack([rows_KD, rows_KD.flip(0)])


def encoder_of(model: Model) -> TextEncoder:
    """The only one."""
    (encoder,) = model.text.encoders.values()
    return encoder


def read(prompts: Prompts) -> Tensor:
    """What a model reads of its prompts."""
    encoded = prompts.only
    found = encoded.pooled_NE if encoded.states_NLD is None else encoded.states_NLD
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("count", "shown"),
    [(24, [1, 8, 16, 24]), (23, [1, 8, 16, 23]), (12, [1, 4, 8, 12]), (3, [1, 2, 3]), (1, [1])],
)
def test_four_layers_are_evenly_spaced(count: int, shown: list[int]) -> None:
    assert layers_shown(count) == shown


@pytest.mark.parametrize("name", ["tiny_sd", "tiny_owlv2", "tiny_clip"])
@torch.no_grad()
def test_a_cut_encoder_passes_its_first_layers_on(name: str) -> None:
    model, template = SUITE.models[name], SUITE.models[name].prompt_template
    encoder, words_NKD = encoder_of(model), words_of(model)
    whole_HND = end_of_text(encoder, template, words_NKD)
    features = read(model.text.encode_words(template, words_NKD))
    assert whole_HND.shape == (3, 2, model.text.width)
    for count in (1, 2):
        with cut(model.text, count):
            less_HND = end_of_text(encoder, template, words_NKD)
            less = read(model.text.encode_words(template, words_NKD))
        torch.testing.assert_close(less_HND[:count], whole_HND[:count])
        for layer_ND in less_HND[count:]:
            torch.testing.assert_close(layer_ND, whole_HND[count - 1])
        assert less.shape == features.shape
        assert not torch.allclose(less, features, atol=1e-3)
    assert torch.equal(read(model.text.encode_words(template, words_NKD)), features)


@torch.no_grad()
def test_cutting_gives_what_an_encoder_without_its_last_blocks_gives() -> None:
    model = SUITE.models["tiny_sd"]
    encoder, words_NKD = encoder_of(model), words_of(model)
    with cut(model.text, 1):
        found = read(model.text.encode_words(model.prompt_template, words_NKD))
    blocks = encoder.blocks
    assert blocks is not None
    rest = list(blocks)[1:]
    del blocks[1:]
    try:
        wanted = read(model.text.encode_words(model.prompt_template, words_NKD))
    finally:
        blocks.extend(rest)
    assert torch.equal(found, wanted)


@torch.no_grad()
def test_cutting_changes_no_module_even_while_it_lasts_and_ends_after_a_fault() -> None:
    model = SUITE.models["tiny_clip"]
    before = read(model.text.encode_text(["a photo of a star"]))
    blocks = encoder_of(model).blocks
    assert blocks is not None
    held = list(blocks)
    with pytest.raises(ZeroDivisionError), cut(model.text, 1):
        assert list(blocks) == held
        _ = 1 / 0
    assert torch.equal(read(model.text.encode_text(["a photo of a star"])), before)


class Counting(nn.Module):
    """A block that adds one."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states + 1


@torch.no_grad()
def test_of_two_encoders_both_are_cut_in_proportion() -> None:
    vocabulary = encoder_of(SUITE.models["tiny_sd"]).vocabulary
    encoders = {}
    for name, count in (("text", 2), ("text_2", 4)):
        blocks = nn.ModuleList(Counting() for _ in range(count))
        table = nn.Embedding(max(vocabulary.ids.values()) + 1, 3)
        nn.init.zeros_(table.weight)

        def forward(
            ids_NL: Tensor,
            mask_NL: Tensor | None,
            table: nn.Embedding = table,
            blocks: nn.ModuleList = blocks,
        ) -> Encoded:
            states = table(ids_NL)
            for block in blocks:
                states = block(hidden_states=states)
            return Encoded(states, None)

        encoders[name] = TextEncoder(vocabulary, table, forward, only_pooled=False, blocks=blocks)
    space = EmbeddingSpace(encoders)
    with cut(space, 1):
        found = space.encode_text(["star"]).encoded
    for name, count in (("text", 1), ("text_2", 2)):
        states = found[name].states_NLD
        assert states is not None
        assert (states == count).all()


@torch.no_grad()
def test_activations_are_those_that_the_library_gives() -> None:
    model = SUITE.models["tiny_sd"]
    encoder = encoder_of(model)
    vocabulary = encoder.vocabulary
    ids = torch.tensor([vocabulary.encode(model.prompt_template.format(" ".join(WORDS)))])
    pipeline = model.pipeline  # type: ignore[attr-defined]
    hidden = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states
    expected = torch.stack([h[0, vocabulary.read_index(ids[0].tolist())] for h in hidden[1:]])
    found = end_of_text(encoder, model.prompt_template, words_of(model)[:1])
    torch.testing.assert_close(found[:-1, 0], expected[:-1])


def tokens_of(model: Model) -> tuple[Tensor, list[str]]:
    """The tokens that count in the model, and what they are called."""
    encoder = encoder_of(model)
    (tokens,) = model.text.eligible.values()
    return encoder.rows(tokens), [encoder.vocabulary.spelling(token)[0] for token in tokens]


def test_a_token_is_nearest_to_itself() -> None:
    model = SUITE.models["tiny_owlv2"]
    tokens_SD, names = tokens_of(model)
    found = nearest(words_of(model)[:1], model.text.anchor_rows(["zepu"]), tokens_SD, names, 3)
    assert [near[0] for near in found.names_NKT[0]] == list(WORDS)
    assert found.distance_NKT[0, :, 0].abs().max() < 1e-6
    assert found.anchor_NK[0, 3] == 0


@pytest.mark.parametrize("delta", [0.1, 0.5, 2.0])
def test_distances_are_in_units_of_delta(delta: float) -> None:
    model = SUITE.models["tiny_sd"]
    tokens_SD, names = tokens_of(model)
    anchor_1D = model.text.anchor_rows(["muli"])
    step_D = torch.nn.functional.normalize(torch.ones(model.text.width), dim=0)
    word_1D = anchor_1D + step_D * delta * model.text.nearest_distance("muli").float()
    found = nearest(word_1D[None], anchor_1D, tokens_SD, names, 1)
    assert found.anchor_NK.item() == pytest.approx(delta, rel=1e-5)
    if delta < 0.5:
        assert found.names_NKT == [[["muli"]]]

"""Vectors put in at the embedding lookup, for text encoders of every kind.

A word whose vectors are the embeddings of existing tokens must give what the library gives for
the plain text. The kinds are small encoders with random weights, and those of the tiny world.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny_text
from small_encoders import CONTEXT, KINDS, small_encoder
from vwtransfer.errors import UserError
from vwtransfer.models.activations import behind_texts, end_of_text
from vwtransfer.models.open_clip_text import reading, text_forward, token_embedding
from vwtransfer.models.text_encoder import Encoded, TextEncoder

ALL = (*KINDS, *tiny_text.TASKS)
TEMPLATES = ["a photo of {}", "a photo of {} on a ring", "{} on sand", 'the "{}" photo']


def text_of(name: str) -> TextEncoder:
    if name in KINDS:
        return small_encoder(name).text
    return tiny_text.space(name).encoders["text"]


def library_of(name: str) -> Callable[[str], Tensor]:
    return small_encoder(name).library if name in KINDS else tiny_text.library(name)


def given(encoded: Encoded) -> Tensor:
    tensor = encoded.pooled_NE if encoded.states_NLD is None else encoded.states_NLD
    assert tensor is not None
    return tensor


def rows_of(text: TextEncoder, words: str) -> Tensor:
    """Embeddings [1, K, D] of the tokens that words are read as in a prompt."""
    return text.rows_of(text.vocabulary.token_ids(words))[None]


@pytest.mark.parametrize("name", ALL)
def test_plain_prompts_are_encoded_as_the_library_does(name: str) -> None:
    texts = ["a photo of a red star", "a photo of star", "asterisk, beside 2 reddish rings"]
    ours = given(text_of(name).encode_text(texts))
    for row, text in zip(ours, texts, strict=True):
        torch.testing.assert_close(row[None], library_of(name)(text), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("words", ["red", "blue star", "asterisk", "red dotted ring"])
def test_a_word_of_existing_embeddings_is_the_plain_text(name: str, words: str) -> None:
    text = text_of(name)
    ours = given(text.encode_words("a photo of {}", rows_of(text, words)))
    theirs = library_of(name)("a photo of " + words)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_word_may_stand_anywhere_in_the_prompt(name: str, template: str) -> None:
    text = text_of(name)
    for words in ("red star", "asterisk"):
        try:  # where there is no space before it, words may be split otherwise
            ids, first, count = text.vocabulary.locate(template, words)
        except UserError:
            assert template.startswith("the")
            continue
        word_1KD = text.rows_of(ids[first : first + count])[None]
        ours = given(text.encode_words(template, word_1KD))
        theirs = library_of(name)(template.format(words))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_longer_word_that_begins_like_the_filler_is_not_taken_for_a_place(name: str) -> None:
    text = text_of(name)
    ids, first = text.vocabulary.prompt("a photo of {}", 1)
    filler, _ = text.vocabulary.spelling(text.vocabulary.strings(ids)[first])
    template = f"a {filler}qx by {{}}"
    ours = given(text.encode_words(template, rows_of(text, "red star")))
    theirs = library_of(name)(template.format("red star"))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_no_token_is_added(name: str) -> None:
    text = text_of(name)
    before = text.embedding.weight.clone()
    text.encode_words("a photo of {}", torch.randn(2, 4, text.width))
    assert torch.equal(text.embedding.weight, before)
    assert not text.embedding._forward_hooks


@pytest.mark.parametrize("name", ALL)
def test_each_word_of_a_batch_is_encoded_as_alone(name: str) -> None:
    text = text_of(name)
    words_NKD = torch.randn(3, 4, text.width) * 0.1
    together = given(text.encode_words("a photo of {}", words_NKD))
    for n in range(3):
        alone = given(text.encode_words("a photo of {}", words_NKD[n : n + 1]))
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_reaches_every_vector_of_a_word(name: str) -> None:
    text = text_of(name)
    words_NKD = torch.randn(2, 3, text.width, requires_grad=True)
    probe = torch.Generator().manual_seed(3)
    encoded = given(text.encode_words("a photo of {}", words_NKD))
    (encoded * torch.randn(encoded.shape, generator=probe)).sum().backward()
    assert words_NKD.grad is not None
    assert (words_NKD.grad.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_only_a_causal_encoder_s_prompt_is_cut_behind_where_it_is_read(name: str) -> None:
    text = text_of(name)
    words_NKD = torch.randn(3, 2, text.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, cut = (
            text.encode_words("a photo of {}", words_NKD, to_end=to_end).states_NLD
            for to_end in (False, True)
        )
    if whole is None or cut is None:
        assert text.only_pooled
        return
    vocabulary = text.vocabulary
    assert (cut.shape[1] < whole.shape[1]) == (vocabulary.causal and not vocabulary.pad_left)
    torch.testing.assert_close(cut, whole[:, : cut.shape[1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_that_is_too_long_says_how_long_it_may_be(name: str) -> None:
    text = text_of(name)
    length = text.vocabulary.context_length
    with pytest.raises(UserError, match=f"reads at most {length}"):
        text.encode_words("a photo of {}", torch.zeros(1, length - 2, text.width))
    with pytest.raises(UserError, match=f"reads at most {length}") as refusal:
        text.encode_text(["red star " * length])
    assert len(str(refusal.value)) < 300
    assert CONTEXT > 16


def test_an_embedding_that_the_model_does_not_look_up_in_is_noticed() -> None:
    right = small_encoder("t5").text
    unused = nn.Embedding.from_pretrained(right.embedding.weight)
    wrong = TextEncoder(right.vocabulary, unused, right.forward, only_pooled=False)
    with pytest.raises(ValueError, match="0 times, not once"):
        wrong.encode_words("a photo of {}", torch.zeros(1, 1, right.width))


def test_an_embedding_that_scales_its_rows_scales_words_too() -> None:
    text = small_encoder("gemma3").text
    assert float(text.embedding(torch.tensor([7])).norm()) > 3 * float(text.rows_of([7]).norm())


def test_an_embedding_that_does_more_is_refused() -> None:
    class Shifted(nn.Embedding):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input) + 1

    text = small_encoder("clip").text
    with pytest.raises(ValueError, match="Shifted does more"):
        TextEncoder(text.vocabulary, Shifted(4, 2), text.forward, only_pooled=False)


def open_clip_tower(causal: bool, pooling: str) -> Any:
    """A text tower as CustomTextCLIP holds it: CLIP's kind, or SigLIP's (all tokens, the last)."""
    from open_clip.transformer import TextTransformer

    torch.manual_seed(0)
    tower = TextTransformer(
        context_length=CONTEXT,
        vocab_size=600,
        width=16,
        heads=2,
        layers=2,
        output_dim=12,
        no_causal_mask=not causal,
        pool_type=pooling,
        proj_bias=pooling == "last",
    )
    return tower.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("kind", "causal", "pooling"), [("clip", True, "argmax"), ("siglip", False, "last")]
)
def test_open_clip_s_towers_are_read_as_it_reads_them(
    kind: str, causal: bool, pooling: str
) -> None:
    assert reading({"no_causal_mask": not causal, "pool_type": pooling}) == (
        causal,
        "end" if causal else "last",
    )
    tower = open_clip_tower(causal, pooling)
    vocabulary = small_encoder(kind).text.vocabulary
    text = TextEncoder(
        vocabulary, token_embedding(tower), text_forward(tower, compiled=False), only_pooled=True
    )
    ids_1L = torch.tensor([vocabulary.encode("a photo of red star")])
    theirs = F.normalize(tower(ids_1L), dim=-1)
    ours = given(text.encode_words("a photo of {}", rows_of(text, "red star")))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(given(text.encode_text(["a photo of red star"])), theirs)


def test_open_clip_s_towers_of_another_kind_are_refused() -> None:
    for config in ({"pool_type": "none"}, {"hf_model_name": "bert"}):
        with pytest.raises(ValueError, match="neither at one token"):
            reading(config)
    with pytest.raises(ValueError, match="none of CLIP's or SigLIP's kind"):
        text_forward(open_clip_tower(True, "none"), compiled=False)


@pytest.mark.parametrize("task", tiny_text.TASKS)
def test_layers_see_a_typed_name_as_they_see_its_tokens(task: str) -> None:
    text = text_of(task)
    assert text.blocks is not None
    names = ["red star", "moon"]
    typed_HND = behind_texts(text, text.blocks, [f"a photo of {name}" for name in names])
    for place, name in enumerate(names):
        rows_HND = end_of_text(text, "a photo of {}", rows_of(text, name))
        torch.testing.assert_close(typed_HND[:, place], rows_HND[:, 0], rtol=1e-4, atol=1e-4)

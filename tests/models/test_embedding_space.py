"""Several text encoders side by side: one tensor for a word, a slice for each encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from small_encoders import small_encoder, small_space
from tiny_text import TASKS
from tiny_text import space as tiny_space
from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.support import Support, support_of
from vwtransfer.tinyworld.lexicon import words

TEMPLATE = "a photo of {}"


def states(prompts: Prompts, name: str) -> Tensor:
    tensor = prompts.encoded[name].states_NLD
    assert tensor is not None
    return tensor


def test_each_encoder_takes_its_slice() -> None:
    both = small_space("clip", "t5")
    assert both.slices == {"clip": slice(0, 16), "t5": slice(16, 36)}
    assert both.width == 36
    words_NKD = torch.randn(3, 2, 36, generator=torch.Generator().manual_seed(0))
    prompts = both.encode_words(TEMPLATE, words_NKD)
    for kind, own in both.slices.items():
        alone = small_encoder(kind).text.encode_words(TEMPLATE, words_NKD[..., own]).states_NLD
        assert alone is not None
        assert torch.equal(states(prompts, kind), alone)


def test_a_word_trains_in_both_encoders_at_once() -> None:
    both = small_space("clip", "t5")
    wanted = {kind: states(both.encode_text(["a photo of red star"]), kind) for kind in both.slices}
    words_NKD = both.anchor_rows(["photo"])[:, None].repeat(1, 2, 1)
    begun_NKD = words_NKD.clone()
    words_NKD.requires_grad_()
    optimiser = torch.optim.Adam([words_NKD], lr=0.05)
    losses = []
    for _ in range(30):
        prompts = both.encode_words(TEMPLATE, words_NKD)
        parts = [
            (states(prompts, kind).mean(1) - wanted[kind].mean(1)).square().mean()
            for kind in wanted
        ]
        loss = torch.stack(parts).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    moved_D = (words_NKD.detach() - begun_NKD).abs().sum(dim=(0, 1))
    assert all((moved_D[own] > 0).all() for own in both.slices.values())


def test_prompts_are_taken_apart_and_repeated_by_their_rows() -> None:
    prompts = small_space("clip", "t5").encode_text(["red", "a star", "moon"])
    assert len(prompts) == 3
    assert torch.equal(states(prompts[1:], "t5"), states(prompts, "t5")[1:])
    twice = prompts.repeat_interleave(2)
    assert len(twice) == 6
    assert torch.equal(states(twice, "clip")[3], states(prompts, "clip")[1])
    assert torch.equal(states(prompts, "clip"), states(prompts[:], "clip"))


def test_an_anchor_s_row_is_that_of_its_token_or_the_mean_of_its_tokens() -> None:
    both = small_space("bert", "t5")
    bert, t5 = (encoder.vocabulary for encoder in both.encoders.values())
    word = next(w for w in words() if bert.word_id(w) and not t5.word_id(w))
    row_D = both.anchor_rows([word])[0]
    tables = [encoder.embedding.weight for encoder in both.encoders.values()]
    assert torch.equal(row_D[:12], tables[0][bert.word_id(word)])
    torch.testing.assert_close(row_D[12:], tables[1][t5.token_ids(word)].mean(dim=0))
    assert not both.is_single_token(word)
    assert both.anchor_tokens(word)["bert"] == [word]
    assert "".join(both.anchor_tokens(word)["t5"]).strip("▁") == word
    with pytest.raises(
        UserError, match=rf"anchor={word}: not a single token of model.small \(t5\)"
    ):
        both.check_single_token(word)


def test_distances_to_the_nearest_token_are_one_for_each_encoder() -> None:
    both = small_space("clip", "t5")
    found_E = both.nearest_distance("photo")
    assert found_E.dtype == torch.float64
    for found, encoder in zip(found_E, both.encoders.values(), strict=True):
        vocabulary, table_VD = encoder.vocabulary, encoder.embedding.weight.double().numpy()
        own = vocabulary.word_id("photo")
        others = [vocabulary.ids[token] for token in vocabulary.tokens]
        distances = np.linalg.norm(table_VD[others] - table_VD[own], axis=1)
        assert float(found) == pytest.approx(np.sort(distances)[1])


@pytest.mark.parametrize("task", TASKS)
def test_the_radius_of_a_delta_ball_is_that_of_the_tokens_the_model_ships(task: str) -> None:
    tiny = tiny_space(task)
    (encoder,) = tiny.encoders.values()
    tokens_SD = encoder.rows([f"{word}</w>" for word in words()])
    for anchor in ("zepu", "star", "nobi"):
        offset_SD = tokens_SD.double() - encoder.rows([f"{anchor}</w>"]).double()
        distance_S = torch.linalg.vector_norm(offset_SD, dim=1)
        assert float(tiny.nearest_distance(anchor)) == distance_S[distance_S > 0].min().item()


def test_a_word_that_an_encoder_splits_has_no_delta_ball() -> None:
    with pytest.raises(UserError, match="not a single token"):
        small_space("clip", "t5").nearest_distance("asterisk")


def test_eligible_tokens_may_be_listed(tmp_path: Path) -> None:
    listed = ["photo</w>", "the</w>", "▁photo", "▁the", "▁sand"]
    both = small_space("clip", "t5", eligible=listed)
    assert both.eligible == {"clip": listed[:2], "t5": listed[2:]}
    file = tmp_path / "support.txt"
    file.write_text("\n".join(listed), encoding="utf-8")
    assert EmbeddingSpace(both.encoders, file).eligible == both.eligible
    distance_E = both.nearest_distance("photo")
    rows = both.encoders["clip"].rows(listed[:2])
    torch.testing.assert_close(distance_E[0], (rows[0] - rows[1]).double().norm())


def test_a_listed_token_that_no_encoder_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'phoot</w>' is not a token .*\(1 of 2 are not\)"):
        _ = small_space("clip", eligible=["photo</w>", "phoot</w>"]).eligible
    with pytest.raises(UserError, match=r"model\.m\.support=.*No such file"):
        _ = EmbeddingSpace(small_space("clip").encoders, tmp_path / "none", "m").eligible


def test_one_encoder_s_identity_is_the_model_s() -> None:
    clip, both = small_space("clip"), small_space("clip", "t5")
    assert clip.identity == small_encoder("clip").text.identity
    others = [small_space("t5", "clip"), small_space("clip", seed=1)]
    assert len({space.identity for space in (clip, both, *others)}) == 4


@pytest.mark.parametrize(("source", "target"), [(a, b) for a in TASKS for b in TASKS])
def test_the_support_of_tiny_models_is_the_list_they_ship(source: str, target: str) -> None:
    support = support_of(tiny_space(source), tiny_space(target))
    assert list(support.entries) == [f"{word}</w>" for word in words()]
    assert support.words == sorted(word for word in words() if len(word) > 1)
    assert str(support) == "320 tokens"


def test_tokenizers_of_one_kind_share_token_strings_pieces_included() -> None:
    siglip2, gemma = small_space("siglip2"), small_space("gemma3")
    support = support_of(siglip2, gemma)
    assert support.of_tokens
    assert list(support.entries) == siglip2.encoders["siglip2"].vocabulary.tokens
    assert 0 < len(support.whole_words) < len(support)
    assert all(entry.startswith("▁") for entry in support.whole_words.entries)


@pytest.mark.parametrize(
    ("source", "target"),
    [(["clip"], ["t5"]), (["bert"], ["clip", "siglip"]), (["qwen", "clip"], ["bert"])],
)
def test_tokenizers_of_different_kinds_share_words(source: list[str], target: list[str]) -> None:
    spaces = small_space(*source), small_space(*target)
    support = support_of(*spaces)
    assert not support.of_tokens
    assert 20 < len(support) < 320
    assert all(space.is_single_token(word) for space in spaces for word in support.entries)
    assert set(support.words) == {w for w in support.entries if w.isalpha() and len(w) > 1}
    for word in words():
        shared = all(space.is_single_token(word) for space in spaces)
        assert (word in support.entries) == shared
    for space in spaces:
        rows_SD = space.token_rows(support)
        assert torch.equal(rows_SD, space.anchor_rows(support.entries))


def test_a_support_can_leave_descriptions_out() -> None:
    support = Support(
        ("red</w>", "star</w>", "star"), ("red", "star", "star"), (True, True, False), True
    )
    left = support.without(["star", "red ring"])
    assert left.entries == ("red</w>",)
    assert str(left) == "1 tokens, without descriptions"
    assert support.words == ["red", "star"]

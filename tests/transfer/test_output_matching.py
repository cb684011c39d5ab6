"""Matching what words do: related encoders, known answers, and words that do not see each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy import NAMES, WORDS, encoder, rows, shared, space, table, text, two_places

from small_encoders import small_encoder, small_space
from tiny_text import space as tiny_space
from vwtransfer.errors import UserError
from vwtransfer.models.cache import Cache
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import support_of
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.output_matching import MatchingMap, OutputMatching
from vwtransfer.transfer.prompts import (
    END,
    ReadPosition,
    calibration_prompts,
    encoded_phrases,
    states,
)

READ_POSITIONS = get_args(ReadPosition)

TEMPLATE = "a photo of {}"
SMALL: dict[str, Any] = {"calibration_prompts": 600, "max_words": 2, "steps": 60}


def twins() -> tuple[EmbeddingSpace, EmbeddingSpace]:
    """Two encoders that read alike, though their tables have nothing linear in common."""
    y_SD = table(6, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))
    source, target = encoder(y_SD), encoder((y_SD @ rotation).astype(np.float32))
    here: Any = text(source).forward
    there: Any = text(target).forward
    there.first = torch.from_numpy(rotation.T).float() @ here.first
    there.last = here.last
    return source, target


def words(count: int, seed: int = 5, width: int = 6) -> Tensor:
    return torch.randn(count, 2, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("objective", ["ridge", "relative", "knn", "ridge_knn", "ridge_knn_table"])
@pytest.mark.parametrize("vocabulary_penalty", [0.0, 0.5])
def test_a_word_is_carried_alike_alone_and_among_others(
    objective: Any, vocabulary_penalty: float
) -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching(
        "m", objective=objective, vocabulary_penalty=vocabulary_penalty, **SMALL
    )
    fitted = method.fit(source, target, shared(source, target))
    vectors_NKD = torch.randn(70, 2, 8, generator=torch.Generator().manual_seed(2))
    together_NKD = fitted(vectors_NKD)
    assert together_NKD.shape == (70, 2, 6)
    for place in (0, 66):
        alone_KD = fitted(vectors_NKD[place : place + 1])[0]
        torch.testing.assert_close(together_NKD[place], alone_KD, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("objective", ["ridge", "relative"])
def test_between_encoders_that_read_alike_the_word_is_read_as_before(objective: Any) -> None:
    source, target = twins()
    vectors_NKD = words(4)
    moved = LeastSquares().fit(source, target, shared(source, target))(vectors_NKD) + 0.3
    settings = {**SMALL, "init": "least_squares", "steps": 200, "learning_rate": 0.02}
    mapped_NKD = OutputMatching("m", objective=objective, **settings).fit(
        source, target, shared(source, target)
    )(vectors_NKD)
    wanted = states(source, TEMPLATE, vectors_NKD)
    assert F.cosine_similarity(states(target, TEMPLATE, mapped_NKD), wanted, dim=-1).min() > 0.98
    assert F.cosine_similarity(states(target, TEMPLATE, moved), wanted, dim=-1).min() < 0.98


def test_neighbours_carry_a_phrase_to_itself() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    settings = {**SMALL, "objective": "knn", "temperature": 1e-3}
    fitted = OutputMatching("m", **settings).fit(source, target, shared(source, target))
    chosen = [3, 9, 17]
    vectors_NKD = rows(source, chosen)[:, None]
    phrases = calibration_prompts(shared(source, target), 600, 2, ())
    there = KeptReadings().bank(target, [TEMPLATE], phrases, END)
    expected_NTF = there.reading(rows(target, chosen)[:, None])
    found_NTF = fitted.wanted(vectors_NKD)
    assert F.cosine_similarity(found_NTF, expected_NTF, dim=-1).min() > 0.999


def test_a_blend_lies_between_its_parts() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(2))
    wanted = {}
    for objective in ("ridge", "knn", "ridge_knn"):
        method = OutputMatching("m", **{**SMALL, "objective": objective})
        wanted[objective] = method.fit(source, target, shared(source, target)).wanted(vectors_NKD)
    parts = [F.normalize(wanted[objective], dim=-1) for objective in ("ridge", "knn")]
    torch.testing.assert_close(wanted["ridge_knn"], parts[0] + parts[1])
    assert not torch.allclose(parts[0], parts[1], atol=0.05)


def test_the_reading_by_least_squares_is_added_at_each_place_of_the_target() -> None:
    source, target = encoder(table(8, 0)), two_places(table(12, 1))
    support, vectors_NKD = shared(source, target), words(5, width=8)
    without, with_table = (
        OutputMatching(
            "m", **{**SMALL, "objective": objective, "target_read_positions": READ_POSITIONS}
        ).fit(source, target, support)
        for objective in ("ridge_knn", "ridge_knn_table")
    )
    by_table_NRF = with_table.read(LeastSquares().fit(source, target, support)(vectors_NKD))
    added_NRF = with_table.wanted(vectors_NKD) - without.wanted(vectors_NKD)
    torch.testing.assert_close(added_NRF, F.normalize(by_table_NRF, dim=-1))
    assert not torch.allclose(added_NRF[:, 0], added_NRF[:, 1], atol=0.05)


def test_each_word_is_taken_from_the_place_where_its_nearest_phrases_agree() -> None:
    source, target = two_places(table(12, 0)), encoder(table(6, 1), seed=1)
    noun_KD, other_KD = rows(source, [4]), rows(source, range(40, 48)).mean(0, keepdim=True)
    clear_at_end = torch.cat([other_KD[:, :6], noun_KD[:, 6:]], dim=1)
    clear_in_words = torch.cat([noun_KD[:, :6], other_KD[:, 6:]], dim=1)
    vectors_NKD = torch.stack([clear_at_end, clear_in_words])
    settings = {**SMALL, "max_words": 3, "temperature": 0.02}
    wanted = {
        places: OutputMatching("m", read_positions=places, **settings)
        .fit(source, target, shared(source, target))
        .wanted(vectors_NKD)
        for places in (("end",), ("words",), ("end", "words"))
    }
    both_NTF = wanted["end", "words"]
    torch.testing.assert_close(both_NTF[0], wanted["end",][0])
    torch.testing.assert_close(both_NTF[1], wanted["words",][1])
    assert not torch.allclose(wanted["end",], wanted["words",], atol=0.1)


def test_a_target_is_matched_at_each_of_its_places() -> None:
    source, target = encoder(table(8, 0)), two_places(table(12, 1))
    vectors_NKD = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    settings = {**SMALL, "steps": 200, "learning_rate": 0.02}
    end, own, both = (
        OutputMatching("m", target_read_positions=places, **settings).fit(
            source, target, shared(source, target)
        )
        for places in (["end"], ["words"], ["end", "words"])
    )
    wanted_NRF = both.wanted(vectors_NKD)
    assert torch.equal(wanted_NRF[:, 0], end.wanted(vectors_NKD)[:, 0])
    assert torch.equal(wanted_NRF[:, 1], own.wanted(vectors_NKD)[:, 0])
    at_both_NR = F.cosine_similarity(both.read(both(vectors_NKD)), wanted_NRF, dim=-1)
    at_end_NR = F.cosine_similarity(both.read(end(vectors_NKD)), wanted_NRF, dim=-1)
    assert at_both_NR[:, 1].mean() > at_end_NR[:, 1].mean() + 0.1


def test_each_pair_of_places_is_related_by_itself() -> None:
    source, target = two_places(table(12, 0)), two_places(table(12, 1))
    vectors_NKD = torch.randn(40, 2, 12, generator=torch.Generator().manual_seed(2))
    templates = ["{}", f"{NAMES[0]} {{}} {NAMES[1]}"]
    settings = {**SMALL, "templates": templates}
    pairs = {
        (place, there): OutputMatching(
            "m", read_positions=[place], target_read_positions=[there], **settings
        )
        .fit(source, target, shared(source, target))
        .wanted(vectors_NKD)
        for place in READ_POSITIONS
        for there in READ_POSITIONS
    }
    both = OutputMatching(
        "m", read_positions=READ_POSITIONS, target_read_positions=READ_POSITIONS, **settings
    )
    wanted_NRF = both.fit(source, target, shared(source, target)).wanted(vectors_NKD)
    assert wanted_NRF.shape == (40, 4, 12)
    for number, (template, there) in enumerate([(t, q) for t in (0, 1) for q in READ_POSITIONS]):
        candidates = [pairs[place, there][:, template] for place in READ_POSITIONS]
        matches = torch.stack(
            [torch.isclose(wanted_NRF[:, number], c, atol=1e-4).all(1) for c in candidates]
        )
        assert matches.any(dim=0).all()
        assert matches.any(dim=1).all(), "each place is the clearer one for some words"


def test_an_encoder_that_gives_the_end_alone_is_read_there_alone() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    end, both = (
        OutputMatching("m", read_positions=places, **SMALL)
        .fit(source, target, shared(source, target))
        .wanted(vectors_NKD)
        for places in (["end"], ["end", "words"])
    )
    assert torch.equal(end, both)


def test_similarities_are_those_of_one_place() -> None:
    with pytest.raises(UserError, match=r"transfer\.read_positions: .* of one position"):
        OutputMatching("m", objective="relative", read_positions=["end", "words"])
    with pytest.raises(UserError, match=r"transfer\.target_read_positions: .* of one position"):
        OutputMatching("m", objective="relative", target_read_positions=["end", "words"])


def test_the_search_begins_at_the_phrase_that_is_read_most_like_the_word() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", init="phrase", **{**SMALL, "steps": 0})
    mapped_NKD = method.fit(source, target, shared(source, target))(torch.randn(3, 2, 8))
    rows_SD = rows(target, range(len(WORDS)))
    distance = torch.cdist(mapped_NKD.flatten(0, 1), rows_SD).amin(dim=1)
    assert distance.max() < 0.01


def test_the_search_can_begin_in_the_middle_of_the_vocabulary() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", init="vocabulary_mean", **{**SMALL, "steps": 0})
    mapped_NKD = method.fit(source, target, shared(source, target))(torch.randn(3, 2, 8))
    expected_NKD = rows(target, range(len(WORDS))).mean(dim=0).expand(3, 2, -1)
    torch.testing.assert_close(mapped_NKD, expected_NKD)


def test_phrases_may_be_of_single_words_alone() -> None:
    two = encoder(table(4, 0, words=2), words=["red</w>", "star</w>"])
    assert sorted(calibration_prompts(shared(two, two), 8, 1, [])) == [("red",), ("star",)]


def test_models_without_a_word_in_common_have_no_calibration_prompts() -> None:
    one, two = (encoder(table(4, 0, words=1), words=[word]) for word in ("red</w>", "star</w>"))
    with pytest.raises(UserError, match="share no word of one token"):
        calibration_prompts(shared(one, two), 8, 1, [])


def test_a_start_without_phrases_of_that_length_is_refused() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1))
    method = OutputMatching("m", init="phrase", **SMALL)
    with pytest.raises(UserError, match=r"no calibration prompt has 4 words.* make it larger"):
        method.fit(source, target, shared(source, target))(torch.randn(1, 4, 8))


def test_the_pull_towards_words_brings_vectors_nearer_to_the_vocabulary() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = 3 * torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(2))
    rows_SD = rows(target, range(len(WORDS)))
    distance = []
    for weight in (0.0, 1.0):
        method = OutputMatching("m", vocabulary_penalty=weight, init="least_squares", **SMALL)
        mapped_NKD = method.fit(source, target, shared(source, target))(vectors_NKD)
        distance.append(float(torch.cdist(mapped_NKD.flatten(0, 1), rows_SD).amin(1).mean()))
    assert distance[1] < 0.8 * distance[0]


@pytest.mark.parametrize(("key", "value"), [("objective", "ridges"), ("init", "phrases")])
def test_an_unknown_variant_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"transfer.{key}={value}: Did you mean"):
        OutputMatching("m", **{key: value})
    with pytest.raises(UserError, match=r"transfer.read_positions=word: Did you mean 'words'"):
        OutputMatching("m", read_positions=["end", "word"])
    with pytest.raises(UserError, match=r"transfer.target_read_positions=ends: Did you mean 'end'"):
        OutputMatching("m", target_read_positions=["ends"])


def test_no_phrase_of_a_fit_spells_out_what_is_excluded() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    pairs = [
        phrase
        for phrase in calibration_prompts(shared(source, target), 600, 2, ())
        if len(phrase) == 2
    ][:40]
    excluded = [" ".join(reversed(pair)) for pair in pairs]
    expected = len(calibration_prompts(shared(source, target), 600, 2, excluded))
    fitted = OutputMatching("m", **SMALL).fit(source, target, shared(source, target), excluded)
    assert fitted.report["calibration_prompts"] == expected <= 600 - len(set(pairs))


def test_several_templates_are_matched_together() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    templates = ["{}", f"{NAMES[0]} {{}} {NAMES[1]}"]
    fitted = OutputMatching("m", templates=templates, **SMALL).fit(
        source, target, shared(source, target)
    )
    assert fitted.report["templates"] == 2
    assert fitted.wanted(torch.randn(3, 2, 8)).shape == (3, 2, 6)
    assert fitted(torch.randn(3, 2, 8)).shape == (3, 2, 6)


def test_real_text_encoders_of_each_kind_are_matched() -> None:
    method = OutputMatching("m", calibration_prompts=200, max_words=2, steps=40, learning_rate=0.02)
    for source, target in (("classification", "generation"), ("generation", "detection")):
        here, there = tiny_space(source), tiny_space(target)
        fitted = method.fit(here, there, support_of(here, there), ["red striped star"])
        words_NKD = here.anchor_rows(["red", "star", "zepu", "big"]).view(2, 2, -1)
        assert_found(fitted, words_NKD, there.width)


@pytest.mark.parametrize(
    ("source", "target"),
    [(["clip"], ["t5"]), (["bert"], ["clip", "t5"]), (["clip", "qwen"], ["siglip"])],
)
def test_models_with_other_tokenizers_and_several_encoders_are_matched(
    source: list[str], target: list[str]
) -> None:
    here, there = small_space(*source), small_space(*target)
    method = OutputMatching(
        "m",
        read_positions=READ_POSITIONS,
        calibration_prompts=200,
        max_words=2,
        steps=60,
        learning_rate=0.05,
    )
    fitted = method.fit(here, there, support_of(here, there))
    words_NKD = torch.randn(3, 2, here.width, generator=torch.Generator().manual_seed(2))
    assert_found(fitted, words_NKD, there.width)


def assert_found(fitted: MatchingMap, words_NKD: Tensor, width: int) -> None:
    """The search ends nearer to what is wanted than it began."""
    mapped_NKD = fitted(words_NKD)
    assert mapped_NKD.shape == (*words_NKD.shape[:2], width)
    wanted = fitted.wanted(words_NKD)
    start = F.cosine_similarity(fitted.read(fitted.init(words_NKD)), wanted, dim=-1)
    found = F.cosine_similarity(fitted.read(mapped_NKD), wanted, dim=-1)
    assert (found > start).all()


def test_a_phrase_is_read_as_the_same_text_by_each_tokenizer() -> None:
    space = small_space("clip", "t5")
    phrase = ("asterisk", "red")
    features_1PF = encoded_phrases(space, TEMPLATE, [phrase], READ_POSITIONS)
    start = 0
    for kind in ("clip", "t5"):
        small, width = small_encoder(kind), space.encoders[kind].width
        states_LD = small.library("a photo of asterisk red")[0]
        tokens = small.tokenizer("a photo of").input_ids, small.tokenizer("asterisk red").input_ids
        first = len(tokens[0]) - 1  # without the end of text
        count = len(tokens[1]) - (2 if kind == "clip" else 1)
        end = first + count
        expected_PD = torch.stack([states_LD[end], states_LD[first:end].mean(dim=0)])
        found_PD = features_1PF[0, :, start : start + width]
        torch.testing.assert_close(found_PD, expected_PD, rtol=1e-4, atol=1e-5)
        start += width


def test_features_of_several_encoders_are_brought_to_one_scale() -> None:
    space = small_space("clip", "t5")
    phrases = [("red",), ("star",), ("big", "ring"), ("a", "moon"), ("teal",), ("zepu", "love")]
    features_BRF = KeptReadings().bank(space, [TEMPLATE], phrases, END).read_BRF
    for part in space.slices.values():
        torch.testing.assert_close(features_BRF[..., part].square().mean(), torch.tensor(1.0))


def test_readings_are_kept_by_the_encoders_weights_and_damaged_ones_made_anew(
    tmp_path: Path,
) -> None:
    kept = KeptReadings(Cache(tmp_path, 10**9))
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", **SMALL)
    words_NKD = rows(source, [3, 9])[:, None]
    expected = method.fit(source, target, shared(source, target))(words_NKD)
    again = replace(method, readings=kept)
    for _ in range(2):
        found = again.fit(source, target, shared(source, target))(words_NKD)
        assert torch.equal(found, expected)
    first, second = sorted(tmp_path.iterdir())
    written = second.stat().st_ino
    first.write_bytes(first.read_bytes()[:-100])
    assert torch.equal(again.fit(source, target, shared(source, target))(words_NKD), expected)
    assert second.stat().st_ino == written
    again.fit(source, encoder(table(6, 2), seed=1), shared(source, target))
    assert len(list(tmp_path.iterdir())) == 3


def test_encoders_of_one_table_and_other_blocks_are_told_apart() -> None:
    plain = text(encoder(table(8, 0)))

    def built(weight: float) -> EmbeddingSpace:
        block = nn.Linear(1, 1)
        nn.init.constant_(block.weight, weight)
        nn.init.zeros_(block.bias)
        blocks = nn.ModuleList([block])
        own = TextEncoder(
            plain.vocabulary, plain.embedding, plain.forward, only_pooled=True, blocks=blocks
        )
        return space(own)

    assert built(1.0).identity == built(2.0).identity
    assert built(1.0).weights_identity == built(1.0).weights_identity
    assert built(1.0).weights_identity != built(2.0).weights_identity

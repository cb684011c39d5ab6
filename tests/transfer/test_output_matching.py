"""Matching what words do: related encoders, known answers, and words that do not see each other."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import NAMES, WORDS, encoder, table

from vwtransfer.config.composition import compose
from vwtransfer.datasets import descriptions_of
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build, build_part
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.output_matching import OutputMatching
from vwtransfer.transfer.prompts import PLACES, phrases, read, states

TEMPLATE = "a photo of {}"
SMALL: dict[str, Any] = {"phrases": 600, "longest": 2, "steps": 60}


def twins() -> tuple[TextEncoder, TextEncoder]:
    """Two encoders that read alike, though their tables have nothing linear in common."""
    y_SD = table(6, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))
    source, target = encoder(y_SD), encoder((y_SD @ rotation).astype(np.float32))
    here: Any = source.forward
    there: Any = target.forward
    there.first = torch.from_numpy(rotation.T).float() @ here.first
    there.last = here.last
    return source, target


def words(count: int, seed: int = 5) -> Tensor:
    return torch.randn(count, 2, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("match", ["ridge", "similarities", "neighbours", "blend"])
@pytest.mark.parametrize("toward_words", [0.0, 0.5])
def test_a_word_is_carried_alike_alone_and_among_others(match: Any, toward_words: float) -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", match=match, toward_words=toward_words, **SMALL)
    fitted = method.fit(source, target, WORDS)
    vectors_NKD = torch.randn(70, 2, 8, generator=torch.Generator().manual_seed(2))
    together_NKD = fitted(vectors_NKD)
    assert together_NKD.shape == (70, 2, 6)
    for place in (0, 66):
        alone_KD = fitted(vectors_NKD[place : place + 1])[0]
        torch.testing.assert_close(together_NKD[place], alone_KD, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("match", ["ridge", "similarities"])
def test_between_encoders_that_read_alike_the_word_is_read_as_before(match: Any) -> None:
    source, target = twins()
    vectors_NKD = words(4)
    moved = LeastSquares().fit(source, target, WORDS)(vectors_NKD) + 0.3
    settings = {**SMALL, "start": "least_squares", "steps": 200, "learning_rate": 0.02}
    mapped_NKD = OutputMatching("m", match=match, **settings).fit(source, target, WORDS)(
        vectors_NKD
    )
    wanted = states(source, TEMPLATE, vectors_NKD)
    assert F.cosine_similarity(states(target, TEMPLATE, mapped_NKD), wanted, dim=-1).min() > 0.98
    assert F.cosine_similarity(states(target, TEMPLATE, moved), wanted, dim=-1).min() < 0.98


def test_neighbours_carry_a_phrase_to_itself() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    settings = {**SMALL, "match": "neighbours", "temperature": 1e-3}
    fitted = OutputMatching("m", **settings).fit(source, target, WORDS)
    chosen = [3, 9, 17]
    vectors_NKD = source.rows([f"{NAMES[i]}</w>" for i in chosen])[:, None]
    there, _ = read(target, [TEMPLATE], phrases(WORDS, 600, 2, ()))
    expected_NTF = there(target.rows([f"{NAMES[i]}</w>" for i in chosen])[:, None])
    found_NTF = fitted.wanted(vectors_NKD)
    assert F.cosine_similarity(found_NTF, expected_NTF, dim=-1).min() > 0.999


def test_a_blend_lies_between_its_parts() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(2))
    wanted = {}
    for match in ("ridge", "neighbours", "blend"):
        method = OutputMatching("m", **{**SMALL, "match": match})
        wanted[match] = method.fit(source, target, WORDS).wanted(vectors_NKD)
    parts = [F.normalize(wanted[match], dim=-1) for match in ("ridge", "neighbours")]
    torch.testing.assert_close(wanted["blend"], parts[0] + parts[1])
    assert not torch.allclose(parts[0], parts[1], atol=0.05)


class TwoPlaces(torch.nn.Module):
    """States [N, L, 12] of all tokens: one half of a vector is read there, the other at the end."""

    def __init__(self, table_VD: Tensor) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding.from_pretrained(table_VD)
        stream = torch.Generator().manual_seed(7)
        self.own, self.end = (torch.randn(6, 12, generator=stream) for _ in range(2))

    def forward(self, ids_NL: Tensor) -> Tensor:
        own_NLD, end_NLD = self.embedding(ids_NL).chunk(2, dim=-1)
        states_NLF = torch.tanh(own_NLD @ self.own)
        at_end_NF = torch.tanh(end_NLD @ self.end).sum(dim=1)
        return torch.where((ids_NL == 1)[..., None], at_end_NF[:, None], states_NLF)


def test_each_word_is_taken_from_the_place_where_its_nearest_phrases_agree() -> None:
    pooled, target = encoder(table(12, 0)), encoder(table(6, 1), seed=1)
    reader = TwoPlaces(pooled.embedding.weight)
    source = TextEncoder(pooled.vocabulary, reader.embedding, reader, pooled=False)
    noun_KD, other_KD = source.rows(WORDS[4:5]), source.rows(WORDS[40:48]).mean(0, keepdim=True)
    clear_at_end = torch.cat([other_KD[:, :6], noun_KD[:, 6:]], dim=1)
    clear_in_words = torch.cat([noun_KD[:, :6], other_KD[:, 6:]], dim=1)
    vectors_NKD = torch.stack([clear_at_end, clear_in_words])
    settings = {**SMALL, "longest": 3, "temperature": 0.02}
    wanted = {
        places: OutputMatching("m", places=places, **settings)
        .fit(source, target, WORDS)
        .wanted(vectors_NKD)
        for places in (("end",), ("words",), ("end", "words"))
    }
    both_NTF = wanted["end", "words"]
    torch.testing.assert_close(both_NTF[0], wanted["end",][0])
    torch.testing.assert_close(both_NTF[1], wanted["words",][1])
    assert not torch.allclose(wanted["end",], wanted["words",], atol=0.1)


def test_a_target_is_matched_at_each_of_its_places() -> None:
    source, pooled = encoder(table(8, 0)), encoder(table(12, 1), seed=1)
    reader = TwoPlaces(pooled.embedding.weight)
    target = TextEncoder(pooled.vocabulary, reader.embedding, reader, pooled=False)
    vectors_NKD = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    settings = {**SMALL, "steps": 200, "learning_rate": 0.02}
    end, own, both = (
        OutputMatching("m", target_places=places, **settings).fit(source, target, WORDS)
        for places in (["end"], ["words"], ["end", "words"])
    )
    wanted_NRF = both.wanted(vectors_NKD)
    assert torch.equal(wanted_NRF[:, 0], end.wanted(vectors_NKD)[:, 0])
    assert torch.equal(wanted_NRF[:, 1], own.wanted(vectors_NKD)[:, 0])
    at_both_NR = F.cosine_similarity(both.read(both(vectors_NKD)), wanted_NRF, dim=-1)
    at_end_NR = F.cosine_similarity(both.read(end(vectors_NKD)), wanted_NRF, dim=-1)
    assert at_both_NR[:, 1].mean() > at_end_NR[:, 1].mean() + 0.1


def test_each_pair_of_places_is_related_by_itself() -> None:
    pooled = encoder(table(12, 0)), encoder(table(12, 1), seed=1)
    readers = [TwoPlaces(each.embedding.weight) for each in pooled]
    source, target = (
        TextEncoder(each.vocabulary, reader.embedding, reader, pooled=False)
        for each, reader in zip(pooled, readers, strict=True)
    )
    vectors_NKD = torch.randn(40, 2, 12, generator=torch.Generator().manual_seed(2))
    templates = ["{}", f"{NAMES[0]} {{}} {NAMES[1]}"]
    settings = {**SMALL, "templates": templates}
    pairs = {
        (place, there): OutputMatching("m", places=[place], target_places=[there], **settings)
        .fit(source, target, WORDS)
        .wanted(vectors_NKD)
        for place in PLACES
        for there in PLACES
    }
    both = OutputMatching("m", places=PLACES, target_places=PLACES, **settings)
    wanted_NRF = both.fit(source, target, WORDS).wanted(vectors_NKD)
    assert wanted_NRF.shape == (40, 4, 12)
    for number, (template, there) in enumerate([(t, q) for t in (0, 1) for q in PLACES]):
        candidates = [pairs[place, there][:, template] for place in PLACES]
        matches = torch.stack(
            [torch.isclose(wanted_NRF[:, number], c, atol=1e-4).all(1) for c in candidates]
        )
        assert matches.any(dim=0).all()
        assert matches.any(dim=1).all(), "each place is the clearer one for some words"


def test_an_encoder_that_gives_the_end_alone_is_read_there_alone() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    end, both = (
        OutputMatching("m", places=places, **SMALL).fit(source, target, WORDS).wanted(vectors_NKD)
        for places in (["end"], ["end", "words"])
    )
    assert torch.equal(end, both)


def test_similarities_are_those_of_one_place() -> None:
    with pytest.raises(UserError, match=r"transfer\.places: similarities .* of one place"):
        OutputMatching("m", match="similarities", places=["end", "words"])
    with pytest.raises(UserError, match=r"transfer\.target_places: similarities .* of one place"):
        OutputMatching("m", match="similarities", target_places=["end", "words"])


def test_the_search_begins_at_the_phrase_that_is_read_most_like_the_word() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", start="phrase", **{**SMALL, "steps": 0})
    mapped_NKD = method.fit(source, target, WORDS)(torch.randn(3, 2, 8))
    rows_SD = target.rows(WORDS)
    distance = torch.cdist(mapped_NKD.flatten(0, 1), rows_SD).amin(dim=1)
    assert distance.max() < 0.01


def test_the_search_can_begin_in_the_middle_of_the_vocabulary() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    method = OutputMatching("m", start="middle", **{**SMALL, "steps": 0})
    mapped_NKD = method.fit(source, target, WORDS)(torch.randn(3, 2, 8))
    expected_NKD = target.rows(WORDS).mean(dim=0).expand(3, 2, -1)
    torch.testing.assert_close(mapped_NKD, expected_NKD)


def test_phrases_may_be_of_single_words_alone() -> None:
    assert sorted(phrases(["red</w>", "star</w>"], 8, 1, [])) == [("red",), ("star",)]


def test_a_start_without_phrases_of_that_length_is_refused() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1))
    method = OutputMatching("m", start="phrase", **SMALL)
    with pytest.raises(UserError, match=r"no phrase has 4 words.* make it larger"):
        method.fit(source, target, WORDS)(torch.randn(1, 4, 8))


def test_the_pull_towards_words_brings_vectors_nearer_to_the_vocabulary() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    vectors_NKD = 3 * torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(2))
    rows_SD = target.rows(WORDS)
    distance = []
    for weight in (0.0, 1.0):
        method = OutputMatching("m", toward_words=weight, start="least_squares", **SMALL)
        mapped_NKD = method.fit(source, target, WORDS)(vectors_NKD)
        distance.append(float(torch.cdist(mapped_NKD.flatten(0, 1), rows_SD).amin(1).mean()))
    assert distance[1] < 0.8 * distance[0]


@pytest.mark.parametrize(("key", "value"), [("match", "ridges"), ("start", "phrases")])
def test_an_unknown_variant_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"transfer.{key}={value}: Did you mean"):
        OutputMatching("m", **{key: value})
    with pytest.raises(UserError, match=r"transfer.places=word: Did you mean 'words'"):
        OutputMatching("m", places=["end", "word"])
    with pytest.raises(UserError, match=r"transfer.target_places=ends: Did you mean 'end'"):
        OutputMatching("m", target_places=["ends"])


def test_no_phrase_of_a_fit_spells_out_what_is_excluded() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    pairs = [phrase for phrase in phrases(WORDS, 600, 2, ()) if len(phrase) == 2][:40]
    excluded = [" ".join(reversed(pair)) for pair in pairs]
    expected = len(phrases(WORDS, 600, 2, excluded))
    fitted = OutputMatching("m", **SMALL).fit(source, target, WORDS, excluded)
    assert fitted.report["phrases"] == expected <= 600 - len(set(pairs))


def test_several_templates_are_matched_together() -> None:
    source, target = encoder(table(8, 0)), encoder(table(6, 1), seed=1)
    templates = ["{}", f"{NAMES[0]} {{}} {NAMES[1]}"]
    fitted = OutputMatching("m", templates=templates, **SMALL).fit(source, target, WORDS)
    assert fitted.report["templates"] == 2
    assert fitted.wanted(torch.randn(3, 2, 8)).shape == (3, 2, 6)
    assert fitted(torch.randn(3, 2, 8)).shape == (3, 2, 6)


def test_real_text_encoders_of_each_kind_are_matched() -> None:
    config = compose(["experiment=transfer_benchmark"])
    suite = build(config, torch.device("cpu"))
    dataset = build_part(config.dataset["tiny_shapes"].node, "dataset")
    method = OutputMatching("m", phrases=200, longest=2, steps=40, learning_rate=0.02)
    for source, target in (("classification", "generation"), ("generation", "detection")):
        here, there = suite.tasks[source].text, suite.tasks[target].text
        fitted = method.fit(here, there, suite.support, descriptions_of(dataset))
        vectors_NKD = here.rows(["red</w>", "star</w>", "zepu</w>", "big</w>"]).view(2, 2, -1)
        mapped_NKD = fitted(vectors_NKD)
        assert mapped_NKD.shape == (2, 2, there.width)
        wanted = fitted.wanted(vectors_NKD)
        start = F.cosine_similarity(fitted.read(fitted.start(vectors_NKD)), wanted, dim=-1)
        found = F.cosine_similarity(fitted.read(mapped_NKD), wanted, dim=-1)
        assert (found > start).all()

"""Calibration prompts, to learn what text encoders make of words: vocabulary words in a template.

Prompts are related as texts: the same phrase goes through each model's own tokenizers, whatever it
is split into.

Letters: N words, K vectors per word, D embedding width, F features of a prompt, B phrases, T
templates, P positions where a prompt is read, R = T P readings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.support import Excluded, Support
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.seeds import generator

Phrase = tuple[str, ...]
AT_ONCE = 512  # prompts
ReadPosition = Literal["end", "words"]
END = ("end",)


class Span(NamedTuple):
    """Where an encoder has a word or phrase in a prompt: its tokens, and where it is read off."""

    first: int
    num_tokens: int
    end: int


def calibration_prompts(
    support: Support, count: int, max_words: int, excluded: Sequence[str], seed: int = 0
) -> list[Phrase]:
    """Phrases of one to `max_words` random words, `count` at most; none spells out `excluded`.

    Words alone come first, each at most once and a quarter of all at most; the other lengths are
    equally frequent.

    Raises:
        UserError: the models share no word that they both read as one token.
    """
    words, forbidden = support.words, Excluded(excluded)
    if not words:
        raise UserError("transfer: the models share no word of one token to make prompts of.")
    stream = generator("phrases", seed)
    order = torch.randperm(len(words), generator=stream).tolist()
    alone = [(words[i],) for i in order[: count // 4]]
    more = count - len(alone) if max_words > 1 else 0
    lengths = torch.randint(2, max(max_words, 2) + 1, (more,), generator=stream).tolist()
    drawn = [
        tuple(words[i] for i in torch.randint(len(words), (length,), generator=stream).tolist())
        for length in lengths
    ]
    return [phrase for phrase in [*alone, *drawn] if not forbidden.spelt_out(phrase)]


def states(
    space: EmbeddingSpace, template: str, words_NKD: Tensor, read_positions: Sequence[str] = END
) -> Tensor:
    """What is read of words in a template, [N, P, F]; differentiable.

    Read positions are "end", where the encoder itself reads a prompt off (or, where it gives the
    states of all tokens, the state there), and "words", the mean over the word's own tokens. Of an
    encoder that gives the pooled feature alone that is what is read, once if all of them are such.
    Of one that gives both, as SDXL's second, the pooled feature is joined to the state of either
    position. Features of several encoders are joined.
    """
    spans = []
    for vocabulary in space.vocabularies.values():
        ids, first = vocabulary.prompt(template, words_NKD.shape[1])
        spans.append(Span(first, words_NKD.shape[1], vocabulary.read_index(ids)))
    prompts = space.encode_words(template, words_NKD, to_end=True)
    return _read_off(space, prompts, spans, read_positions)


@torch.no_grad()
def encoded_phrases(
    space: EmbeddingSpace,
    template: str,
    phrases: Sequence[Phrase],
    read_positions: Sequence[str] = END,
    advance: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """What is read of phrases in a template, [B, P, F], on the encoders' device.

    `advance` is told how many phrases were read, batch by batch.
    """
    alike: dict[tuple[Span, ...], list[int]] = {}
    for number, phrase in enumerate(phrases):
        alike.setdefault(_spans(space, template, " ".join(phrase)), []).append(number)
    features: dict[int, Tensor] = {}
    for spans, numbers in alike.items():
        for start in range(0, len(numbers), AT_ONCE):
            part = numbers[start : start + AT_ONCE]
            texts = [template.format(" ".join(phrases[number])) for number in part]
            prompts = space.encode_text(texts, to_end=True)
            states_BPF = _read_off(space, prompts, spans, read_positions)
            features.update(zip(part, states_BPF, strict=True))
            advance(len(part))
    return torch.stack([features[number] for number in range(len(phrases))])


@dataclass(frozen=True)
class Reading:
    """What a model's encoders make of prompts, beside what they make of calibration prompts.

    Attributes:
        space: whose reading it is.
        templates: T prompts with a place for the word.
        read_positions: see `states`.
        mean_RF: mean of what is read of calibration prompts.
        scale_F: of each feature; 1 but where several encoders' features are brought to one scale.
    """

    space: EmbeddingSpace
    templates: Sequence[str]
    read_positions: Sequence[str]
    mean_RF: Tensor
    scale_F: Tensor

    def __call__(self, words_NKD: Tensor) -> Tensor:
        """What is read of words, less the mean, [N, R, F]; differentiable in the words."""
        read = [states(self.space, t, words_NKD, self.read_positions) for t in self.templates]
        return (torch.cat(read, dim=1) - self.mean_RF) / self.scale_F


@dataclass(frozen=True)
class Bank:
    """What a model reads of calibration prompts, and so of words beside them.

    Attributes:
        reading: of words, in which the prompts have mean zero.
        phrases: B of them.
        read_BRF: what is read of these; all positions of the first template come first, then those
            of the second.
    """

    reading: Reading
    phrases: Sequence[Phrase]
    read_BRF: Tensor

    @torch.no_grad()
    def nearest(self, words_NKD: Tensor, count: int) -> list[list[tuple[str, float]]]:
        """The phrases read most like each word, with their cosines, a mean over the readings."""
        read_NRF = F.normalize(self.reading(words_NKD.to(self.read_BRF)), dim=-1)
        cosine_NRB = torch.einsum("nrf,brf->nrb", read_NRF, F.normalize(self.read_BRF, dim=-1))
        top = cosine_NRB.mean(dim=1).topk(min(count, len(self.phrases)), dim=1)
        return [
            [(" ".join(self.phrases[b]), cosine) for b, cosine in zip(places, values, strict=True)]
            for places, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]

    def nearest_to(self, phrases: Sequence[Phrase]) -> dict[str, float]:
        """How near its prompts come to some phrases: the greatest cosine, a mean over readings."""
        here, found = self.reading, {}
        for phrase in phrases:
            states = [
                encoded_phrases(here.space, t, [phrase], here.read_positions)
                for t in here.templates
            ]
            read_1RF = (torch.cat(states, dim=1) - here.mean_RF) / here.scale_F
            cosine_BR = F.cosine_similarity(self.read_BRF, read_1RF, dim=-1)
            found[" ".join(phrase)] = float(cosine_BR.mean(dim=1).max())
        return found


def bank(
    space: EmbeddingSpace,
    templates: Sequence[str],
    phrases: Sequence[Phrase],
    read_positions: Sequence[str],
    states_BRF: Tensor,
) -> Bank:
    """The bank of what `encoded_phrases` gave of phrases, in each of the templates."""
    mean_RF = states_BRF.mean(dim=0)
    centred_BRF = states_BRF - mean_RF
    scale_F = _scale(space, templates[0], centred_BRF)
    reading = Reading(space, list(templates), list(read_positions), mean_RF, scale_F)
    return Bank(reading, phrases, centred_BRF / scale_F)


def _spans(space: EmbeddingSpace, template: str, text: str) -> tuple[Span, ...]:
    """Where each encoder has a text in a template."""
    spans = []
    for vocabulary in space.vocabularies.values():
        ids, first, count = vocabulary.locate(template, text)
        spans.append(Span(first, count, vocabulary.read_index(ids)))
    return tuple(spans)


def _read_off(
    space: EmbeddingSpace, prompts: Prompts, spans: Sequence[Span], read_positions: Sequence[str]
) -> Tensor:
    """What is read of prompts [N, P, F] that have their words in the same places."""
    pooled_alone = all(encoder.only_pooled for encoder in space.encoders.values())
    positions = END if pooled_alone else read_positions
    parts = []
    for encoded, span in zip(prompts.encoded.values(), spans, strict=True):
        parts += [
            torch.stack([_at(part, span, position) for position in positions], dim=1)
            for part in _given(encoded)
        ]
    return torch.cat(parts, dim=-1)


def _given(encoded: Encoded) -> list[Tensor]:
    """What an encoder gives its model: states [N, L, F], a pooled feature [N, F], or both."""
    return [part for part in (encoded.states_NLD, encoded.pooled_NE) if part is not None]


def _at(part: Tensor, span: Span, position: str) -> Tensor:
    """What is read of it at a position, [N, F] in float32."""
    if part.ndim == 2:
        return part.float()
    states_NLF = part.float()
    if position == "end":
        return states_NLF[:, span.end]
    return states_NLF[:, span.first : span.first + span.num_tokens].mean(dim=1)


@torch.no_grad()
def _scale(space: EmbeddingSpace, template: str, centred_BRF: Tensor) -> Tensor:
    """Root mean square [F] of each part that several encoders give, so that all count alike."""
    scale_F = torch.ones(centred_BRF.shape[-1], device=centred_BRF.device)
    if len(space.encoders) == 1:
        return scale_F
    probe_1KD = torch.zeros(1, 1, space.width, device=space.device)
    prompts = space.encode_words(template, probe_1KD, to_end=True)
    start = 0
    for part in (part for encoded in prompts.encoded.values() for part in _given(encoded)):
        own = slice(start, start + part.shape[-1])
        scale_F[own] = centred_BRF[..., own].square().mean().sqrt()
        start = own.stop
    return scale_F

"""Ordinary prompts, to learn what text encoders make of words: vocabulary words in a template.

Letters: N words, K vectors per word, D embedding width, F features of a prompt, B phrases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.seeds import generator

Phrase = tuple[str, ...]
AT_ONCE = 512  # prompts


class Excluded:
    """Descriptions that no prompt may spell out.

    Args:
        descriptions: such as "red striped star".
    """

    def __init__(self, descriptions: Iterable[str]) -> None:
        self._by_word: dict[str, list[frozenset[str]]] = {}
        for description in descriptions:
            words = frozenset(description.lower().split())
            if words:
                self._by_word.setdefault(min(words), []).append(words)

    def spelt_out(self, words: Iterable[str]) -> bool:
        """Whether all words of a description are among these, in any order."""
        there = set(words)
        return any(whole <= there for word in there for whole in self._by_word.get(word, ()))


def ordinary_words(support: Iterable[str]) -> list[str]:
    """The whole words of a support, sorted: no pieces, digits or punctuation."""
    words = {token.removesuffix(WORD_END) for token in support if token.endswith(WORD_END)}
    return sorted(word for word in words if word.isascii() and word.isalpha() and len(word) > 1)


def phrases(
    support: Iterable[str], count: int, longest: int, excluded: Sequence[str], seed: int = 0
) -> list[Phrase]:
    """Phrases of one to `longest` random words, `count` at most; none spells out `excluded`.

    Words alone come first, each at most once and a quarter of all at most; the other lengths are
    equally frequent.
    """
    words, forbidden = ordinary_words(support), Excluded(excluded)
    stream = generator("phrases", seed)
    order = torch.randperm(len(words), generator=stream).tolist()
    alone = [(words[i],) for i in order[: count // 4]]
    lengths = torch.randint(2, longest + 1, (count - len(alone),), generator=stream).tolist()
    drawn = [
        tuple(words[i] for i in torch.randint(len(words), (length,), generator=stream).tolist())
        for length in lengths
    ]
    return [phrase for phrase in [*alone, *drawn] if not forbidden.spelt_out(phrase)]


def end_state(encoder: TextEncoder, template: str, vectors_NKD: Tensor) -> Tensor:
    """Features [N, F] at the end of the text, where CLIP-style encoders read a prompt off."""
    encoded = encoder.encode_words(template, vectors_NKD)
    if encoder.pooled:
        return encoded.float()
    ids, _ = encoder.vocabulary.prompt(template, vectors_NKD.shape[1])
    return encoded[:, encoder.vocabulary.end(ids)].float()


@torch.no_grad()
def encoded_phrases(encoder: TextEncoder, template: str, chosen: Sequence[Phrase]) -> Tensor:
    """The end states [B, F] of phrases in a template, on the encoder's device."""
    by_length: dict[int, list[int]] = {}
    for place, phrase in enumerate(chosen):
        by_length.setdefault(len(phrase), []).append(place)
    device = encoder.embedding.weight.device
    features: dict[int, Tensor] = {}
    for length, places in by_length.items():
        tokens = [f"{word}{WORD_END}" for place in places for word in chosen[place]]
        rows_BKD = encoder.rows(tokens).view(len(places), length, -1)
        for start in range(0, len(places), AT_ONCE):
            part_BKD = rows_BKD[start : start + AT_ONCE].to(device)
            states_BF = end_state(encoder, template, part_BKD)
            features.update(zip(places[start : start + AT_ONCE], states_BF, strict=True))
    return torch.stack([features[place] for place in range(len(chosen))])


@dataclass(frozen=True)
class Reading:
    """What an encoder makes of prompts, beside what it makes of ordinary ones.

    Attributes:
        encoder: whose reading it is.
        templates: T prompts with a place for the word.
        mean_TF: mean end state of ordinary phrases in each template.
    """

    encoder: TextEncoder
    templates: Sequence[str]
    mean_TF: Tensor

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """What is read of words, less the mean, [N, T, F]; differentiable in the vectors."""
        read = [end_state(self.encoder, template, vectors_NKD) for template in self.templates]
        return torch.stack(read, dim=1) - self.mean_TF


def read(
    encoder: TextEncoder, templates: Sequence[str], chosen: Sequence[Phrase]
) -> tuple[Reading, Tensor]:
    """The reading in which phrases have mean zero, and what is read of them [B, T, F]."""
    states_BTF = torch.stack(
        [encoded_phrases(encoder, template, chosen) for template in templates], dim=1
    )
    mean_TF = states_BTF.mean(dim=0)
    return Reading(encoder, list(templates), mean_TF), states_BTF - mean_TF

"""Ordinary prompts, to learn what text encoders make of words: vocabulary words in a template.

Letters: N words, K vectors per word, D embedding width, F features of a prompt, B phrases, T
templates, P places where a prompt is read, R = T P readings.
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
PLACES = ("end", "words")
END = ("end",)


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
    more = count - len(alone) if longest > 1 else 0
    lengths = torch.randint(2, max(longest, 2) + 1, (more,), generator=stream).tolist()
    drawn = [
        tuple(words[i] for i in torch.randint(len(words), (length,), generator=stream).tolist())
        for length in lengths
    ]
    return [phrase for phrase in [*alone, *drawn] if not forbidden.spelt_out(phrase)]


def states(
    encoder: TextEncoder, template: str, vectors_NKD: Tensor, places: Sequence[str] = END
) -> Tensor:
    """What is read of words in a template, [N, P, F]; differentiable.

    Places are "end", the end of the text, where CLIP-style encoders read a prompt off, and "words",
    the mean over the word's own tokens. An encoder that gives the end alone is read there alone.
    """
    encoded = encoder.encode_words(template, vectors_NKD, to_end=True).float()
    if encoder.pooled:
        return encoded[:, None]
    length = vectors_NKD.shape[1]
    ids, first = encoder.vocabulary.prompt(template, length)
    at = {
        "end": encoded[:, encoder.vocabulary.end(ids)],
        "words": encoded[:, first : first + length].mean(dim=1),
    }
    return torch.stack([at[place] for place in places], dim=1)


@torch.no_grad()
def encoded_phrases(
    encoder: TextEncoder, template: str, chosen: Sequence[Phrase], places: Sequence[str] = END
) -> Tensor:
    """What is read of phrases in a template, [B, P, F], on the encoder's device."""
    by_length: dict[int, list[int]] = {}
    for number, phrase in enumerate(chosen):
        by_length.setdefault(len(phrase), []).append(number)
    device = encoder.embedding.weight.device
    features: dict[int, Tensor] = {}
    for length, numbers in by_length.items():
        tokens = [f"{word}{WORD_END}" for number in numbers for word in chosen[number]]
        rows_BKD = encoder.rows(tokens).view(len(numbers), length, -1)
        for start in range(0, len(numbers), AT_ONCE):
            part_BKD = rows_BKD[start : start + AT_ONCE].to(device)
            states_BPF = states(encoder, template, part_BKD, places)
            features.update(zip(numbers[start : start + AT_ONCE], states_BPF, strict=True))
    return torch.stack([features[number] for number in range(len(chosen))])


@dataclass(frozen=True)
class Reading:
    """What an encoder makes of prompts, beside what it makes of ordinary ones.

    Attributes:
        encoder: whose reading it is.
        templates: T prompts with a place for the word.
        places: see `states`.
        mean_RF: mean of what is read of ordinary phrases.
    """

    encoder: TextEncoder
    templates: Sequence[str]
    places: Sequence[str]
    mean_RF: Tensor

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """What is read of words, less the mean, [N, R, F]; differentiable in the vectors."""
        read = [states(self.encoder, t, vectors_NKD, self.places) for t in self.templates]
        return torch.cat(read, dim=1) - self.mean_RF


def read(
    encoder: TextEncoder,
    templates: Sequence[str],
    chosen: Sequence[Phrase],
    places: Sequence[str] = END,
) -> tuple[Reading, Tensor]:
    """The reading in which phrases have mean zero, and what is read of them [B, R, F].

    All places of the first template come first, then those of the second.
    """
    states_BRF = torch.cat(
        [encoded_phrases(encoder, template, chosen, places) for template in templates], dim=1
    )
    mean_RF = states_BRF.mean(dim=0)
    return Reading(encoder, list(templates), list(places), mean_RF), states_BRF - mean_RF

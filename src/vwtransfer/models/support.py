"""The entries of two vocabularies that a map between their models is fitted on.

It belongs to the pair of models and never depends on which others are in a study.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Protocol

from vwtransfer.models.vocabulary import Vocabulary


class Vocabularies(Protocol):
    """A model's vocabularies, and which of their tokens count."""

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """By the names of its encoders."""
        ...

    @property
    def eligible(self) -> Mapping[str, Sequence[str]]:
        """Token strings, by the names of its encoders."""
        ...


@dataclass(frozen=True)
class Support:
    """Entries that both models of a pair hold.

    Attributes:
        entries: token strings such as "cat</w>", or words such as "cat".
        texts: what each entry spells.
        whole: whether each entry is a whole word.
        of_tokens: whether entries are token strings.
        without_what: what entries were left out for spelling: "descriptions", say; empty for all.
    """

    entries: tuple[str, ...]
    texts: tuple[str, ...]
    whole: tuple[bool, ...]
    of_tokens: bool
    without_what: str = ""

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        of = "tokens" if self.of_tokens else "words"
        return f"{len(self)} {of}{f', without {self.without_what}' if self.without_what else ''}"

    @cached_property
    def whole_words(self) -> "Support":
        """The entries that are whole words."""
        return self.only(
            entry for entry, whole in zip(self.entries, self.whole, strict=True) if whole
        )

    @cached_property
    def words(self) -> list[str]:
        """What prompts are made of: words in lower case, sorted; no pieces, digits, punctuation."""
        whole = {text for text, whole in zip(self.texts, self.whole, strict=True) if whole}
        return sorted(w for w in whole if w.isascii() and w.isalpha() and w.islower() and w[1:])

    def without(self, descriptions: Iterable[str], called: str = "descriptions") -> "Support":
        """The entries that are not by themselves a description, such as a concept's name."""
        excluded = Excluded(descriptions)
        spelt = zip(self.entries, self.texts, strict=True)
        kept = self.only(entry for entry, text in spelt if not excluded.spelt_out([text.lower()]))
        return replace(kept, without_what=called)

    def only(self, entries: Iterable[str]) -> "Support":
        """Some of the entries, in the order given."""
        place = {entry: number for number, entry in enumerate(self.entries)}
        chosen = [place[entry] for entry in entries]
        return Support(
            tuple(self.entries[n] for n in chosen),
            tuple(self.texts[n] for n in chosen),
            tuple(self.whole[n] for n in chosen),
            self.of_tokens,
            self.without_what,
        )

    def sorted(self) -> "Support":
        """Each entry once, in the order of their strings."""
        return self.only(sorted(set(self.entries)))


class Excluded:
    """Descriptions that no prompt may spell out.

    Args:
        descriptions: such as "red striped star".
    """

    def __init__(self, descriptions: Iterable[str]) -> None:
        self._whole = {frozenset(each.lower().split()) for each in descriptions} - {frozenset()}
        self._known = frozenset().union(*self._whole)
        self._lengths = range(1, 1 + max(map(len, self._whole), default=0))

    def spelt_out(self, words: Iterable[str]) -> bool:
        """Whether all words of a description are among these, in any order."""
        there = self._known.intersection(words)
        some = (part for length in self._lengths for part in combinations(there, length))
        return any(frozenset(part) in self._whole for part in some)


def support_of(source: Vocabularies, target: Vocabularies) -> Support:
    """The support of maps from one model to another.

    With tokenizers of one kind these are the eligible token strings that all encoders of both
    models hold, pieces of words included, in the source's order (CLIP to CLIP: the paper's more
    than 40,000). With different kinds they are the words that each encoder of both reads as one
    eligible token.
    """
    encoders = [
        (vocabulary, model.eligible[name])
        for model in (source, target)
        for name, vocabulary in model.vocabularies.items()
    ]
    vocabulary, eligible = encoders[0]
    if len({vocabulary.kind for vocabulary, _ in encoders}) == 1:
        others = [set(tokens) for _, tokens in encoders[1:]]
        shared = [token for token in eligible if all(token in held for held in others)]
        spelt = [vocabulary.spelling(token) for token in shared]
        texts, whole = tuple(text for text, _ in spelt), tuple(whole for _, whole in spelt)
        return Support(tuple(shared), texts, whole, of_tokens=True)
    held = [_words(vocabulary, tokens) for vocabulary, tokens in encoders]
    shared = [word for word in held[0] if all(word in words for words in held[1:])]
    shared = [word for word in shared if all(v.word_id(word) == v.words[word] for v, _ in encoders)]
    return Support(tuple(shared), tuple(shared), (True,) * len(shared), of_tokens=False)


def _words(vocabulary: Vocabulary, eligible: Sequence[str]) -> dict[str, int]:
    """The words among eligible tokens, with their ids."""
    ids = {vocabulary.ids[token] for token in eligible}
    return {word: number for word, number in vocabulary.words.items() if number in ids}

"""Words of one model mapped to another, as many at a time as are done in half a minute.

Shapes: N words, K vectors per word, D embedding width.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from vwtransfer.errors import UserError
from vwtransfer.models.devices import wait_for
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import support_of
from vwtransfer.models.vocabulary import Vocabulary
from vwtransfer.transfer import Map, Transfer
from vwtransfer.transfer.output_matching import MatchingMap, OutputMatching

BARE = "{}"
"""The prompt for words that have more vectors than another leaves room for."""
MOST_AT_ONCE = 64  # words
BATCH_SECONDS = 30.0  # after which what was done is written
PROBE_STEPS = 2  # of a search that is timed
PROBE_WORDS = 4
NEAREST = 50  # phrases that are compared


@dataclass(frozen=True)
class Converted:
    """Words in the target's space.

    Attributes:
        vectors_NKD: the words.
        agreement: of each, how far the target reads it as is wanted, 1 at best; None where the
            method does not say.
        shared: see `shared_phrases`; None likewise.
    """

    vectors_NKD: Tensor
    agreement: Sequence[float] | None
    shared: Sequence[float] | None


class Converter:
    """The maps from one model to another.

    Args:
        source: the text encoders that words come from.
        target: those that they are taken to.
        method: how.
        settings: of the method, as plain values.
    """

    def __init__(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        method: Transfer,
        settings: Mapping[str, Any],
    ) -> None:
        self.source, self.target, self.method, self.settings = source, target, method, settings
        self._maps: dict[str, Map] = {}

    @cached_property
    def identity(self) -> str:
        """Hash of the method and of both models' text encoders."""
        weights = [space.weights_identity for space in (self.source, self.target)]
        what = json.dumps([dict(self.settings), *weights], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()[:16]

    def template_for(self, num_vectors: int) -> str:
        """The prompt in which words are related: the method's own, or the bare one.

        Raises:
            UserError: a model does not read so many vectors in any prompt.
        """
        own = self.method.templates if isinstance(self.method, OutputMatching) else (BARE,)
        if all(num_vectors <= self.room(template) for template in own):
            return own[0]
        if num_vectors <= self.room(BARE):
            return BARE
        raise UserError(
            f"a word of {num_vectors} vectors is too long: {self.source.model} and "
            f"{self.target.model} both read at most {self.room(BARE)} in one prompt"
        )

    def room(self, template: str) -> int:
        """How many vectors a word may have in a prompt that both models read."""
        vocabularies = [
            vocabulary
            for space in (self.source, self.target)
            for vocabulary in space.vocabularies.values()
        ]
        return min(_room(vocabulary, template) for vocabulary in vocabularies)

    def map_for(self, template: str) -> Map:
        """The map that is fitted in a prompt."""
        if template not in self._maps:
            method = self.method
            if isinstance(method, OutputMatching) and template not in method.templates:
                method = replace(method, templates=(template,))
            # no description is left out of the fit: words are used, and nothing is measured of them
            support = support_of(self.source, self.target)
            self._maps[template] = method.fit(self.source, self.target, support)
        return self._maps[template]

    def convert(self, words_NKD: Tensor, template: str, anchors: Sequence[str | None]) -> Converted:
        """Words [N, K, D_source] in the target's space; each as if it were alone.

        Args:
            words_NKD: the words.
            template: see `template_for`.
            anchors: the word that each began at; None where that is not known.
        """
        fitted = self.map_for(template)
        known = [anchor for anchor in anchors if anchor is not None]
        found_NKD = fitted(words_NKD, known if len(known) == len(words_NKD) else None)
        if not isinstance(fitted, MatchingMap):
            return Converted(found_NKD.cpu(), None, None)
        agreement = fitted.agreement(words_NKD, found_NKD).tolist()
        shared = shared_phrases(fitted, words_NKD, found_NKD)
        return Converted(found_NKD.cpu(), agreement, shared)

    def seconds_per_word(self, words_NKD: Tensor, template: str) -> float:
        """About how long a word takes, from a few steps of the search for a few words."""
        fitted, part_NKD = self.map_for(template), words_NKD[:PROBE_WORDS]
        steps = 1.0
        if isinstance(fitted, MatchingMap):
            steps = fitted.steps / PROBE_STEPS
            fitted = replace(fitted, steps=PROBE_STEPS)
        fitted(part_NKD)  # what is done once
        began = time.perf_counter()
        fitted(part_NKD)
        wait_for(self.target.device)
        return (time.perf_counter() - began) * steps / len(part_NKD)


def shared_phrases(fitted: MatchingMap, words_NKD: Tensor, found_NKD: Tensor) -> list[float]:
    """Share of the NEAREST phrases that a word is read like, before and after a conversion.

    Args:
        fitted: that converted the words.
        words_NKD: in the source.
        found_NKD: in the target.
    """
    before = fitted.source.nearest(words_NKD, NEAREST)
    after = fitted.target.nearest(found_NKD, NEAREST)
    return [
        len({text for text, _ in here} & {text for text, _ in there}) / len(here)
        for here, there in zip(before, after, strict=True)
    ]


def _room(vocabulary: Vocabulary, template: str) -> int:
    """How many vectors fit into a prompt."""
    try:
        ids, _ = vocabulary.prompt(template, 1)
    except UserError:
        return 0
    return vocabulary.context_length - sum(vocabulary.mask(ids)) + 1


def at_once(seconds_per_word: float) -> int:
    """How many words are converted before they are written."""
    return max(1, min(MOST_AT_ONCE, int(BATCH_SECONDS / max(seconds_per_word, 1e-6))))

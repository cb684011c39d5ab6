"""Match what a word does instead of where it lies.

What the source's text encoder makes of the word's prompts is carried over to what the target's is
to make of them, by what the two make of ordinary phrases; then vectors are searched for, by
gradient, whose prompts the target reads so. Neither images nor labels: a result depends on the word
and the two text encoders alone. How the source's reading is carried over (`match`):

    ridge          a linear map, fitted on the phrases: between whole networks, model stitching
                   (Lenc and Vedaldi, 2015; Bansal et al., 2021)
    similarities   not at all: the target is to have the same cosines with the phrases (relative
                   representations, Moschella et al., 2023, in function space)
    neighbours     the mean of what the target makes of the phrases nearest to the word, weighted by
                   their cosines (Nadaraya and Watson's regression, 1964)
    blend          the directions of ridge and neighbours, added

A word is read quite unlike any phrase: training pushes it wherever its own model leaves room. A
linear map carries that along; the neighbours' mean stays among what the target makes of phrases,
but is coarse. The blend has some of both.

A model that reads every token's state, as generation does, leaves training free to put what a word
means into its own tokens or into the end of the text. Where the source is read at several `places`,
each word is taken from the place where it is clearest: where the target's readings of the phrases
nearest to it agree most, that is, where their mean is longest. Where the target is such a model, it
may be matched at several places too (`target_places`).

Letters: N words, K vectors per word, D width, T templates, P places of the source, Q of the target,
R readings (T P of the source, T Q of the target, or T Q P pairs of the two), F features, B phrases,
J neighbours, S vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.errors import UserError, nearest
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.prompts import END, PLACES, Phrase, phrases, read
from vwtransfer.transfer.ridge import ridge
from vwtransfer.transfer.tables import explained

MATCHES = ("ridge", "similarities", "neighbours", "blend")
STARTS = ("least_squares", "phrase", "middle")
AT_ONCE = 64  # words

Reader = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MatchingMap:
    """Vectors that are searched for in the target until it reads them as is wanted.

    Attributes:
        start: words [N, K, D_source] -> where the search begins, [N, K, D_target].
        wanted: words [N, K, D_source] -> what the target is to read, [N, T Q, F].
        read: words [N, K, D_target] -> what the target reads, [N, T Q, F].
        tokens_SD: rows of the target's vocabulary, which `toward_words` pulls to.
        toward_words: weight of the distance to them.
        steps, learning_rate: of Adam.
    """

    start: Reader
    wanted: Reader
    read: Reader
    tokens_SD: Tensor
    toward_words: float
    steps: int
    learning_rate: float
    report: Mapping[str, Any]

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], each searched for on its own."""
        found = [self._search(part_NKD) for part_NKD in vectors_NKD.split(AT_ONCE)]
        return torch.cat(found).to(vectors_NKD)

    def _search(self, vectors_NKD: Tensor) -> Tensor:
        vectors_NKD = vectors_NKD.to(self.tokens_SD)
        with torch.no_grad():
            wanted_NRF, found_NKD = self.wanted(vectors_NKD), self.start(vectors_NKD)
        found_NKD = found_NKD.clone().requires_grad_()
        optimiser = torch.optim.Adam([found_NKD], lr=self.learning_rate)
        for _ in range(self.steps):
            with torch.enable_grad():
                agreement_NR = F.cosine_similarity(self.read(found_NKD), wanted_NRF, dim=-1)
                loss_N = 1 - agreement_NR.mean(dim=1)
                if self.toward_words:
                    loss_N = loss_N + self.toward_words * self._distance(found_NKD)
                optimiser.zero_grad()
                loss_N.sum().backward()
            optimiser.step()
        return found_NKD.detach()

    def _distance(self, found_NKD: Tensor) -> Tensor:
        """Mean square distance [N] to the nearest words, relative to the words' own mean square."""
        distance_MS = torch.cdist(found_NKD.flatten(0, 1), self.tokens_SD)
        nearest_M = distance_MS.amin(dim=1).square() / self.tokens_SD.square().sum(dim=1).mean()
        return nearest_M.view(found_NKD.shape[:2]).mean(dim=1)


class OutputMatching:
    """Words that the target reads as the source reads them, related through ordinary phrases.

    Args:
        name: what the results call it.
        templates: prompts with a place for the word.
        match: "ridge", "similarities", "neighbours" or "blend"; see the module.
        places: where the source's encoder is read: "end", "words" or both; see `prompts.states`.
        target_places: where the target's is.
        phrases: how many ordinary phrases.
        longest: words of the longest phrase.
        strength: of "ridge", in units of the mean variance of what is read; None: that of the least
            leave-one-out error on the phrases, which words are not like.
        neighbours: J, the phrases that count for "neighbours".
        temperature: of their weights: cosines are divided by it before their softmax.
        start: where the search begins: at the least-squares solution; at the phrase, of as many
            words as the word has vectors, that the source reads most like it; or in the middle (the
            mean) of the target's vocabulary, from where it goes no further than it must.
        toward_words: weight of the distance to the nearest vocabulary words.
        steps, learning_rate: of Adam.
    """

    def __init__(
        self,
        name: str,
        templates: Sequence[str] = ("a photo of {}",),
        match: Literal["ridge", "similarities", "neighbours", "blend"] = "blend",
        places: Sequence[str] = END,
        target_places: Sequence[str] = END,
        phrases: int = 4000,
        longest: int = 3,
        strength: float | None = None,
        neighbours: int = 100,
        temperature: float = 0.1,
        start: Literal["least_squares", "phrase", "middle"] = "middle",
        toward_words: float = 0.0,
        steps: int = 200,
        learning_rate: float = 0.01,
    ) -> None:
        of_places = [("places", place, PLACES) for place in places]
        of_places += [("target_places", place, PLACES) for place in target_places]
        for key, value, valid in (("match", match, MATCHES), ("start", start, STARTS), *of_places):
            if value not in valid:
                raise UserError(f"transfer.{key}={value}: {nearest(str(value), valid)}")
        for key, several in (("places", places), ("target_places", target_places)):
            if len(several) != 1 and match == "similarities":
                raise UserError(
                    f"transfer.{key}: similarities are matched as they are, and so those of one "
                    "place."
                )
        self.name = name
        self.templates = list(templates)
        self.match = match
        self.places = list(places)
        self.target_places = list(target_places)
        self.phrases = phrases
        self.longest = longest
        self.strength = strength
        self.neighbours = neighbours
        self.temperature = temperature
        self.start = start
        self.toward_words = toward_words
        self.steps = steps
        self.learning_rate = learning_rate

    def fit(
        self,
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> MatchingMap:
        """Reads ordinary phrases in both encoders and relates the two readings.

        Raises:
            UserError: see `tables.tables`.
        """
        chosen = phrases(support, self.phrases, self.longest, excluded)
        here, y_BRF = read(source, self.templates, chosen, self.places)
        there, x_BRF = read(target, self.templates, chosen, self.target_places)
        report: dict[str, Any] = {"phrases": len(chosen), "templates": len(self.templates)}
        if self.match == "similarities":
            wanted, matched = _cosines_of(here, y_BRF), _cosines_of(there, x_BRF)
        else:
            wanted, matched = self._carried(here, y_BRF, x_BRF, report), there
        tokens_SD = target.rows(sorted(set(support))).to(target.embedding.weight.device)
        begin: Reader
        if self.start == "least_squares":
            begin = LeastSquares().fit(source, target, support)
        elif self.start == "phrase":
            begin = _nearest_phrase(here, target, y_BRF, chosen)
        else:
            begin = _middle(tokens_SD)
        return MatchingMap(
            begin,
            wanted,
            matched,
            tokens_SD,
            self.toward_words,
            self.steps,
            self.learning_rate,
            report,
        )

    def _carried(
        self, here: Reader, y_BRF: Tensor, x_BRF: Tensor, report: dict[str, Any]
    ) -> Reader:
        """Words -> what the target is to read [N, T Q, F], by ridge, neighbours or both.

        Args:
            here: the source's reading.
            y_BRF: what the source reads of phrases, [B, T P, F].
            x_BRF: what the target reads of them, [B, T Q, F].
            report: takes what there is to say of the fit.
        """
        T = len(self.templates)
        P, Q = y_BRF.shape[1] // T, x_BRF.shape[1] // T

        def paired(read_NRF: Tensor) -> Tensor:
            """Readings of the source [N, T P, F] beside each of the target, [N, T Q P, F]."""
            read_NTPF = read_NRF.unflatten(1, (T, P))
            return read_NTPF[:, :, None].expand(-1, -1, Q, -1, -1).flatten(1, 3)

        y_BRF, x_BRF = paired(y_BRF), x_BRF.repeat_interleave(P, dim=1)
        near = _neighbours(y_BRF, x_BRF, min(self.neighbours, len(y_BRF)), self.temperature)
        if self.match != "neighbours":
            linear, report["r2"] = _ridge(y_BRF, x_BRF, self.strength)

        def wanted(vectors_NKD: Tensor) -> Tensor:
            read_NRF = paired(here(vectors_NKD))
            near_NRF = near(read_NRF)
            ways = [] if self.match == "ridge" else [near_NRF]
            if self.match != "neighbours":
                ways.append(linear(read_NRF))
            wanted_NRF = torch.stack([F.normalize(way, dim=-1) for way in ways]).sum(dim=0)
            clearest_NR = near_NRF.norm(dim=-1).unflatten(1, (T * Q, P)).argmax(dim=2)
            index_NR1F = clearest_NR[..., None, None].expand(-1, -1, 1, wanted_NRF.shape[-1])
            return wanted_NRF.unflatten(1, (T * Q, P)).gather(2, index_NR1F).squeeze(2)

        return wanted


def _ridge(y_BRF: Tensor, x_BRF: Tensor, strength: float | None) -> tuple[Reader, float]:
    """For each reading the ridge map from the source's to the target's, and their mean R2."""
    fits, scores = [], []
    for y_BF, x_BF in zip(y_BRF.cpu().unbind(1), x_BRF.cpu().unbind(1), strict=True):
        y, x = y_BF.double().numpy(), x_BF.double().numpy()
        matrix, offset, _ = ridge(y, x, strength)
        fits.append((torch.from_numpy(matrix).to(x_BRF), torch.from_numpy(offset).to(x_BRF)))
        scores.append(explained(x, y @ matrix + offset) or 0.0)

    def carry(read_NRF: Tensor) -> Tensor:
        parts = [y @ a + b for y, (a, b) in zip(read_NRF.unbind(1), fits, strict=True)]
        return torch.stack(parts, dim=1)

    return carry, sum(scores) / len(scores)


def _cosines(bank_BRF: Tensor) -> Reader:
    """What is read [N, R, F] -> its cosines [N, R, B] with the phrases of a bank."""
    unit_BRF = F.normalize(bank_BRF, dim=-1)
    return lambda read_NRF: torch.einsum("nrf,brf->nrb", F.normalize(read_NRF, dim=-1), unit_BRF)


def _cosines_of(reading: Reader, bank_BRF: Tensor) -> Reader:
    """Words -> cosines [N, R, B] of what is read of them."""
    cosines = _cosines(bank_BRF)
    return lambda vectors_NKD: cosines(reading(vectors_NKD))


def _neighbours(y_BRF: Tensor, x_BRF: Tensor, neighbours: int, temperature: float) -> Reader:
    """What is read -> the mean [N, R, F] of what the target makes of the phrases nearest to it."""
    cosines = _cosines(y_BRF)

    def mean(read_NRF: Tensor) -> Tensor:
        nearest_NRJ, index_NRJ = cosines(read_NRF).topk(neighbours, dim=-1)
        weight_NRJ = torch.softmax(nearest_NRJ / temperature, dim=-1)
        reading_R1 = torch.arange(x_BRF.shape[1], device=x_BRF.device)[:, None]
        return torch.einsum("nrj,nrjf->nrf", weight_NRJ, x_BRF[index_NRJ, reading_R1])

    return mean


def _middle(tokens_SD: Tensor) -> Reader:
    """Words [N, K, D_source] -> the mean of the vocabulary in each place."""
    mean_D = tokens_SD.mean(dim=0)
    return lambda vectors_NKD: mean_D.expand(*vectors_NKD.shape[:2], -1)


def _nearest_phrase(
    here: Reader, target: TextEncoder, y_BRF: Tensor, chosen: Sequence[Phrase]
) -> Reader:
    """Words [N, K, D_source] -> rows [N, K, D_target] of the K-word phrase read most like each."""
    cosines = _cosines_of(here, y_BRF)

    def begin(vectors_NKD: Tensor) -> Tensor:
        length = vectors_NKD.shape[1]
        places = [place for place, phrase in enumerate(chosen) if len(phrase) == length]
        if not places:
            raise UserError(
                f"transfer.longest: no phrase has {length} words, as many as the word has vectors; "
                "make it larger, or begin with transfer.start=least_squares."
            )
        like_NB = cosines(vectors_NKD).mean(dim=1)[:, places]
        best = [chosen[places[place]] for place in like_NB.argmax(dim=1).tolist()]
        rows = [target.rows([f"{word}{WORD_END}" for word in phrase]) for phrase in best]
        return torch.stack(rows).to(vectors_NKD.device)

    return begin

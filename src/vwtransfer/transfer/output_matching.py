"""Match what a word does instead of where it lies.

Vectors are optimized by gradient until the target encodes their prompts like the mapped source
encoding of the word's. The mapping is fitted on calibration prompts, phrases of vocabulary words
that both models encode. Neither images nor labels: a result depends on the word and the text
encoders alone. How the source's encoding is mapped (`objective`):

    ridge       a linear map, fitted on the calibration prompts: between whole networks, model
                stitching (Lenc and Vedaldi, 2015; Bansal et al., 2021)
    relative    not at all: the target is to have the same cosines with the calibration prompts
                (relative representations, Moschella et al., 2023, in function space)
    knn         the mean of the target's encodings of the calibration prompts nearest to the word,
                weighted by their cosines (Nadaraya and Watson's regression, 1964)
    ridge_knn   the directions of ridge and knn, added
    ridge_knn_table
                the same, and that of what the target reads of the word by least squares between the
                embedding tables

A word is encoded quite unlike any phrase: training pushes it wherever its own model leaves room. A
linear map keeps that; the neighbours' mean stays among the target's encodings of phrases, but is
coarse. Their sum has some of both. Between text encoders of one kind the tables agree on what no
prompt of other words says, so that least squares adds to both.

A model that reads every token's state, as generation does, leaves training free to put what a word
means into its own tokens or into the end of the text. Where the source is read at several
`read_positions`, we choose for each word the one with the more consistent neighbours: where the
target's encodings of the phrases nearest to it agree most, that is, where their mean is longest.
Where the target is such a model, it may be matched at several positions too
(`target_read_positions`).

With `calibration_words`, words of other concepts whose names are known, what training leaves in
every word of the source is taken away first (`calibration_words.py`); with `offset_words`, whose
names need not be known, what these have in common.

Letters: N words, K vectors per word, D width, T templates, P read positions of the source, Q of the
target, R readings (T P of the source, T Q of the target, or T Q P pairs of the two), F features,
B phrases, J neighbours, S support.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.config.schema import convert
from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.calibration_words import TrainingNoise, common_offset, training_noise
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.prompts import END, Bank, Phrase, ReadPosition, calibration_prompts
from vwtransfer.transfer.readers import (
    Reader,
    cosines_of,
    nearest_mean,
    ridge_reader,
)

Objective = Literal["ridge", "knn", "ridge_knn", "ridge_knn_table", "relative"]
Init = Literal["least_squares", "phrase", "vocabulary_mean"]
AT_ONCE = 64  # words


@dataclass(frozen=True)
class MatchingMap:
    """Vectors that are searched for in the target until it reads them as is wanted.

    Attributes:
        init: words [N, K, D_source] -> where the search begins, [N, K, D_target].
        wanted: words [N, K, D_source] -> what the target is to read, [N, T Q, F].
        read: words [N, K, D_target] -> what the target reads, [N, T Q, F].
        tokens_SD: rows of the target's vocabulary, which `vocabulary_penalty` pulls to.
        vocabulary_penalty: weight of the distance to them.
        steps, learning_rate: of Adam.
        source, target: what the two models read of the calibration prompts.
    """

    init: Reader
    wanted: Reader
    read: Reader
    tokens_SD: Tensor
    vocabulary_penalty: float
    steps: int
    learning_rate: float
    report: Mapping[str, Any]
    source: Bank
    target: Bank

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target], each searched for on its own."""
        found = [self._search(part_NKD) for part_NKD in words_NKD.split(AT_ONCE)]
        return torch.cat(found).to(words_NKD)

    @torch.no_grad()
    def agreement(self, words_NKD: Tensor, found_NKD: Tensor) -> Tensor:
        """How far the target reads words as is wanted: mean cosine [N], 1 at best.

        Args:
            words_NKD: words of the source.
            found_NKD: what they were mapped to.
        """
        wanted_NRF = self.wanted(words_NKD.to(self.tokens_SD))
        read_NRF = self.read(found_NKD.to(self.tokens_SD))
        return F.cosine_similarity(read_NRF, wanted_NRF, dim=-1).mean(dim=1)

    def _search(self, words_NKD: Tensor) -> Tensor:
        words_NKD = words_NKD.to(self.tokens_SD)
        with torch.no_grad():
            wanted_NRF, found_NKD = self.wanted(words_NKD), self.init(words_NKD)
        found_NKD = found_NKD.clone().requires_grad_()
        optimiser = torch.optim.Adam([found_NKD], lr=self.learning_rate)
        for _ in range(self.steps):
            with torch.enable_grad():
                agreement_NR = F.cosine_similarity(self.read(found_NKD), wanted_NRF, dim=-1)
                loss_N = 1 - agreement_NR.mean(dim=1)
                if self.vocabulary_penalty:
                    loss_N = loss_N + self.vocabulary_penalty * self._distance(found_NKD)
                optimiser.zero_grad()
                loss_N.sum().backward()
            optimiser.step()
        return found_NKD.detach()

    def _distance(self, found_NKD: Tensor) -> Tensor:
        """Mean square distance [N] to the nearest words, relative to the words' own mean square."""
        distance_MS = torch.cdist(found_NKD.flatten(0, 1), self.tokens_SD)
        nearest_M = distance_MS.amin(dim=1).square() / self.tokens_SD.square().sum(dim=1).mean()
        return nearest_M.view(found_NKD.shape[:2]).mean(dim=1)


@dataclass
class OutputMatching:
    """Words that the target encodes like the mapped source encoding of them.

    Attributes:
        name: what the results call it.
        templates: prompts with a place for the word.
        objective: see the module.
        read_positions: where the source is read: "end", "words" or both; see `prompts.states`.
        target_read_positions: where the target is.
        calibration_prompts: how many.
        max_words: of the longest calibration prompt.
        ridge_alpha: of "ridge", in units of the mean variance of what is read; None: that of the
            least leave-one-out error on the calibration prompts, which words are not like.
        neighbours: J, the calibration prompts that count for "knn".
        temperature: of their weights: cosines are divided by it before their softmax.
        init: where the search begins: at the least-squares solution; at the phrase, of as many
            words as the word has vectors, that the source reads most like it; or at the mean of the
            target's vocabulary, from where it goes no further than it must.
        vocabulary_penalty: weight of the distance to the nearest vocabulary tokens.
        steps, learning_rate: of Adam.
        calibration_words: folder of a study with words of the source for other concepts, from which
            it is learned what training leaves in a word; the linear map then needs no ridge_alpha.
        offset_words: folder of a study with words of the source, whose mean reading is taken away
            from that of every word; those of concepts that are called as is tested are left out.
        readings: keeps what the models read of calibration prompts.
    """

    name: str
    templates: Sequence[str] = ("a photo of {}",)
    objective: Objective = "ridge_knn"
    read_positions: Sequence[str] = END
    target_read_positions: Sequence[str] = END
    calibration_prompts: int = 4000
    max_words: int = 3
    ridge_alpha: float | None = None
    neighbours: int = 100
    temperature: float = 0.1
    init: Init = "vocabulary_mean"
    vocabulary_penalty: float = 0.0
    steps: int = 200
    learning_rate: float = 0.01
    calibration_words: str | None = None
    offset_words: str | None = None
    readings: KeptReadings = field(default_factory=KeptReadings)

    def __post_init__(self) -> None:
        positions = {
            "read_positions": self.read_positions,
            "target_read_positions": self.target_read_positions,
        }
        convert(Objective, self.objective, "transfer.objective")
        convert(Init, self.init, "transfer.init")
        for key, several in positions.items():
            for each in several:
                convert(ReadPosition, each, f"transfer.{key}")
        if self.calibration_words is not None and self.offset_words is not None:
            raise UserError(
                "transfer.offset_words: calibration_words gives the offset already; choose one."
            )
        for key, several in positions.items():
            if len(several) != 1 and self.objective == "relative":
                raise UserError(
                    f"transfer.{key}: objective=relative compares cosines as they are, and so "
                    "those of one position."
                )

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> MatchingMap:
        """Reads calibration prompts in both models and relates the two readings.

        Raises:
            UserError: see `tables.tables`.
        """
        phrases = calibration_prompts(support, self.calibration_prompts, self.max_words, excluded)
        banks = [
            self.readings.bank(space, self.templates, phrases, positions)
            for space, positions in (
                (source, self.read_positions),
                (target, self.target_read_positions),
            )
        ]
        (here, y_BRF), (there, x_BRF) = ((bank.reading, bank.read_BRF) for bank in banks)
        report: dict[str, Any] = {
            "calibration_prompts": len(phrases),
            "templates": len(self.templates),
        }
        if self.objective == "relative":
            wanted, matched = cosines_of(here, y_BRF), cosines_of(there, x_BRF)
        else:
            noise = None
            if self.calibration_words is not None:
                noise = training_noise(Path(self.calibration_words), here, excluded)
                report |= {"calibration_words": noise.words, "concepts": noise.concepts}
                report["words_digest"] = noise.digest
            offset_RF = None if noise is None else noise.offset_RF
            if self.offset_words is not None:
                offset_RF, about = common_offset(Path(self.offset_words), here, excluded)
                report |= about
            table: Reader | None = None
            if self.objective == "ridge_knn_table":
                by_table = LeastSquares().fit(source, target, support)
                table = _read_through(by_table, there)
            wanted = self._mapped(here, y_BRF, x_BRF, noise, offset_RF, table, report)
            matched = there
        tokens_SD = target.token_rows(support.sorted()).to(target.device)
        init: Reader
        if self.init == "least_squares":
            init = LeastSquares().fit(source, target, support)
        elif self.init == "phrase":
            init = _nearest_phrase(here, target, y_BRF, phrases)
        else:
            init = _vocabulary_mean(tokens_SD)
        return MatchingMap(
            init,
            wanted,
            matched,
            tokens_SD,
            self.vocabulary_penalty,
            self.steps,
            self.learning_rate,
            report,
            *banks,
        )

    def _mapped(
        self,
        here: Reader,
        y_BRF: Tensor,
        x_BRF: Tensor,
        noise: TrainingNoise | None,
        offset_RF: Tensor | None,
        table: Reader | None,
        report: dict[str, Any],
    ) -> Reader:
        """Words -> what the target is to read [N, T Q, F], as `objective` says.

        Args:
            here: the source's reading.
            y_BRF: what the source reads of phrases, [B, T P, F].
            x_BRF: what the target reads of them, [B, T Q, F].
            noise: what training leaves in words.
            offset_RF: what is taken away from the reading of every word.
            table: words -> what the target reads of them by least squares, [N, T Q, F].
            report: takes what there is to say of the fit.
        """
        T = len(self.templates)
        P, Q = y_BRF.shape[1] // T, x_BRF.shape[1] // T
        # each reading of the source beside each of the target in the same template, [T Q P]
        pairs_R = torch.arange(T * P).view(T, 1, P).expand(-1, Q, -1).flatten()
        y_BRF, x_BRF = y_BRF[:, pairs_R], x_BRF.repeat_interleave(P, dim=1)
        near = nearest_mean(y_BRF, x_BRF, min(self.neighbours, len(y_BRF)), self.temperature)
        linear: Reader | None = None
        if self.objective != "knn":
            if noise is None:
                linear, report["r2"] = ridge_reader(y_BRF, x_BRF, self.ridge_alpha)
            else:
                linear = noise.of(pairs_R).linear(y_BRF, x_BRF)

        def wanted(words_NKD: Tensor) -> Tensor:
            read_NRF = here(words_NKD)
            if offset_RF is not None:
                read_NRF = read_NRF - offset_RF
            read_NRF = read_NRF[:, pairs_R]
            near_NRF = near(read_NRF)
            ways = [] if self.objective == "ridge" else [near_NRF]
            if linear is not None:
                ways.append(linear(read_NRF))
            if table is not None:
                ways.append(table(words_NKD).repeat_interleave(P, dim=1))
            wanted_NRF = torch.stack([F.normalize(way, dim=-1) for way in ways]).sum(dim=0)
            longest_NR = near_NRF.norm(dim=-1).unflatten(1, (T * Q, P)).argmax(dim=2)
            index_NR1F = longest_NR[..., None, None].expand(-1, -1, 1, wanted_NRF.shape[-1])
            return wanted_NRF.unflatten(1, (T * Q, P)).gather(2, index_NR1F).squeeze(2)

        return wanted


def _read_through(mapped: Reader, there: Reader) -> Reader:
    """Words [N, K, D_source] -> what the target reads of what they are mapped to."""
    return lambda words_NKD: there(mapped(words_NKD))


def _vocabulary_mean(tokens_SD: Tensor) -> Reader:
    """Words [N, K, D_source] -> the mean of the vocabulary in each place."""
    mean_D = tokens_SD.mean(dim=0)
    return lambda words_NKD: mean_D.expand(*words_NKD.shape[:2], -1)


def _nearest_phrase(
    here: Reader, target: EmbeddingSpace, y_BRF: Tensor, phrases: Sequence[Phrase]
) -> Reader:
    """Words [N, K, D_source] -> rows [N, K, D_target] of the K-word phrase read most like each."""
    cosines = cosines_of(here, y_BRF)

    def init(words_NKD: Tensor) -> Tensor:
        length = words_NKD.shape[1]
        numbers = [number for number, phrase in enumerate(phrases) if len(phrase) == length]
        if not numbers:
            raise UserError(
                f"transfer.max_words: no calibration prompt has {length} words, as many as the "
                "word has vectors; make it larger, or begin with transfer.init=least_squares."
            )
        like_NB = cosines(words_NKD).mean(dim=1)[:, numbers]
        best = [phrases[numbers[place]] for place in like_NB.argmax(dim=1).tolist()]
        rows = [target.anchor_rows(phrase) for phrase in best]
        return torch.stack(rows).to(words_NKD.device)

    return init

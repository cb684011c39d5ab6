"""A word as tokens that the source reads like it, and these tokens typed in the target.

PEZ of Wen et al., "Hard prompts made easy", 2023 (arXiv 2302.03668), algorithm 1: vectors are moved
by the gradient that is taken where they are projected, each to its nearest token. The loss is here
how unlike the source reads the tokens and the word; among all projections the most alike is kept.

Letters: N words, K vectors per word, D embedding width, S tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Excluded, Support
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import END, Reading, calibration_prompts


@dataclass(frozen=True)
class HardPromptMap:
    """Rows of whole-word tokens in both tables, and how the source reads a prompt of them."""

    here: Reading
    y_SD: Tensor
    x_SD: Tensor
    texts: Sequence[str]
    forbidden: Excluded
    steps: int
    learning_rate: float
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as rows [N, K, D_target] of the target's table."""
        words_NKD = words_NKD.to(self.y_SD)
        with torch.no_grad():
            wanted_NRF = self.here(words_NKD)
        soft_NKD = words_NKD.clone().requires_grad_()
        optimiser = torch.optim.Adam([soft_NKD], lr=self.learning_rate)
        unit_SD = F.normalize(self.y_SD, dim=-1)
        best_N = torch.full((len(words_NKD),), -torch.inf).to(words_NKD)
        found_NKD = self.x_SD.mean(dim=0).expand(*words_NKD.shape[:2], -1)  # where all is forbidden
        for _ in range(self.steps):
            place_NK = (F.normalize(soft_NKD.detach(), dim=-1) @ unit_SD.T).argmax(dim=-1)
            hard_NKD = self.y_SD[place_NK].requires_grad_()
            with torch.enable_grad():
                like_N = F.cosine_similarity(self.here(hard_NKD), wanted_NRF, dim=-1).mean(dim=1)
                soft_NKD.grad = torch.autograd.grad(-like_N.sum(), hard_NKD)[0]
            better_N = (like_N.detach() > best_N) & self._allowed(place_NK)
            best_N = torch.where(better_N, like_N.detach(), best_N)
            found_NKD = torch.where(better_N[:, None, None], self.x_SD[place_NK], found_NKD)
            optimiser.step()
        return found_NKD

    def _allowed(self, place_NK: Tensor) -> Tensor:
        """Which prompts [N] spell out nothing that they may not."""
        spelt = (
            self.forbidden.spelt_out([self.texts[place] for place in places])
            for places in place_NK.tolist()
        )
        return torch.tensor([not each for each in spelt], device=place_NK.device)


@dataclass
class HardPrompt:
    """As many tokens as the word has vectors, found by gradient in the source.

    Attributes:
        name: what the results call it.
        templates: prompts with a place for the word.
        calibration_prompts, max_words: what is read is centred on the mean over so many, as long.
        steps, learning_rate: of Adam.
        readings: keeps what the source reads of calibration prompts.
    """

    name: str = "hard_prompt"
    templates: Sequence[str] = ("a photo of {}",)
    calibration_prompts: int = 8000
    max_words: int = 3
    steps: int = 200
    learning_rate: float = 0.1
    readings: KeptReadings = field(default_factory=KeptReadings)

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> HardPromptMap:
        """Reads calibration prompts in the source, to know what all prompts have in common.

        Raises:
            UserError: the models share no word of one token.
        """
        phrases = calibration_prompts(support, self.calibration_prompts, self.max_words, excluded)
        bank = self.readings.bank(source, self.templates, phrases, END)
        tokens = support.whole_words.sorted()
        y_SD, x_SD = (space.token_rows(tokens).to(target.device) for space in (source, target))
        return HardPromptMap(
            bank.reading,
            y_SD,
            x_SD,
            [text.lower() for text in tokens.texts],
            Excluded(excluded),
            self.steps,
            self.learning_rate,
            {"tokens": len(tokens), "calibration_prompts": len(phrases)},
        )

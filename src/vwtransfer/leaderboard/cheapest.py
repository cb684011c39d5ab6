"""The cheapest explanations of what a transfer keeps: rows of every leaderboard.

Neither is a transfer, as neither makes a word of the target. A method that is to be believed does
better than both, or as well where they cannot be used.

    typed_nearest   the calibration prompt that the source reads most like the word, typed
    mapped_output   what a ridge map predicts that the target makes of the word's prompt, in place
                    of it: for targets that read one vector off a prompt

Letters: N words, K vectors per word, R readings, F features, B prompts, E width of pooled features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.leaderboard.mapping import IdentityMap
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.support import Support
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.prompts import END, Bank, calibration_prompts
from vwtransfer.transfer.readers import Reader, ridge_reader

TEMPLATES = ("a photo of {}",)
MAX_WORDS = 3
RIDGE_ALPHA = 0.3  # as of transfer=output_matching


@dataclass(frozen=True, kw_only=True)
class Typed(IdentityMap):
    """Words -> the prompts of the phrases that the source reads most like them."""

    source: Bank
    target: EmbeddingSpace

    def prompts(self, template: str, words_NKD: Tensor) -> Prompts:
        """A template with the phrase nearest to each word."""
        phrases = [found[0][0] for found in self.source.nearest(words_NKD, 1)]
        return self.target.encode_text([template.format(phrase) for phrase in phrases])


@dataclass(frozen=True, kw_only=True)
class Mapped(IdentityMap):
    """Words -> what the target would read off prompts, whatever the template."""

    source: Bank
    target: Bank
    linear: Reader

    @torch.no_grad()
    def prompts(self, template: str, words_NKD: Tensor) -> Prompts:
        """The predicted features, as long as those of calibration prompts."""
        there = self.target.reading
        bank_BF = (self.target.read_BRF + there.mean_RF)[:, 0]
        read_NF = (self.linear(self.source.reading(words_NKD.to(bank_BF))) + there.mean_RF)[:, 0]
        pooled_NE = F.normalize(read_NF, dim=-1) * bank_BF.norm(dim=-1).mean()
        return Prompts({name: Encoded(pooled_NE=pooled_NE) for name in there.space.encoders})


@dataclass
class Cheapest:
    """One of the two, fitted as a transfer method is.

    Attributes:
        name: "typed_nearest" or "mapped_output".
        count: of calibration prompts.
        concepts: what the concepts are called: the fit tells how near prompts come to these.
        readings: keeps what the models read of calibration prompts.
    """

    name: str
    count: int
    concepts: Sequence[str] = ()
    readings: KeptReadings = field(default_factory=KeptReadings)

    def measures(self, target: EmbeddingSpace) -> bool:
        """Whether a target reads what is given in place of a word."""
        alone = len(target.encoders) == 1
        return self.name != "mapped_output" or (
            alone and all(encoder.only_pooled for encoder in target.encoders.values())
        )

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> Typed | Mapped:
        """Reads calibration prompts in the source, and for a map in the target."""
        phrases = calibration_prompts(support, self.count, MAX_WORDS, excluded)
        here = self.readings.bank(source, TEMPLATES, phrases, END)
        if self.name == "mapped_output":
            there = self.readings.bank(target, TEMPLATES, phrases, END)
            linear, r2 = ridge_reader(here.read_BRF, there.read_BRF, RIDGE_ALPHA)
            report = {"calibration_prompts": len(phrases), "r2": r2}
            return Mapped(source=here, target=there, linear=linear, report=report)
        nearest = here.nearest_to([tuple(name.lower().split()) for name in self.concepts])
        report = {"calibration_prompts": len(phrases)}
        return Typed(source=here, target=target, report={**report, "nearest_to_names": nearest})


CHEAPEST = ("typed_nearest", "mapped_output")

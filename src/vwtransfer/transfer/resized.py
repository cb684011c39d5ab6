"""What is tried first: the source's vectors brought to the target's width, as pictures are.

Nothing relates the dimensions of two models' tables, so that this keeps nothing but by luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support


@dataclass(frozen=True)
class ResizedMap:
    """Vectors of other widths: one for each text encoder of the target."""

    widths: Sequence[int]
    how: Literal["interpolate", "pad"]
    report: Mapping[str, Any]

    def __call__(self, words_NKD: Tensor, anchors: Sequence[str] | None = None) -> Tensor:
        """Words [N, K, D_source] as [N, K, D_target]."""
        return torch.cat([self._resized(words_NKD, width) for width in self.widths], dim=-1)

    def _resized(self, words_NKD: Tensor, width: int) -> Tensor:
        if self.how == "interpolate":
            return F.interpolate(words_NKD, size=width, mode="linear")
        return F.pad(words_NKD, (0, width - words_NKD.shape[-1]))  # a negative width cuts


@dataclass
class Resized:
    """Each vector is stretched or shrunk, or filled up with zeros or cut.

    Attributes:
        name: what the results call it.
        how: interpolate: linearly along the width; pad: zeros behind it, or cut.
    """

    name: str = "resized"
    how: Literal["interpolate", "pad"] = "interpolate"

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> ResizedMap:
        """Needs the target's widths alone."""
        widths = [encoder.width for encoder in target.encoders.values()]
        return ResizedMap(widths, self.how, {"widths": widths})

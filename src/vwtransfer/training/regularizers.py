"""Words trained so that they transfer: what is held to hinder it is made dear.

All of it is off unless asked for (`trainer.outside_penalty`, `trainer.early_penalty`); what became
of it is in docs/transfer.md.

Letters: N words, K vectors per word, D embedding width, S support.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from vwtransfer.config import TrainerConfig
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.models.activations import behind
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.words.cells import Cell

KEPT = 0.9  # of the energy of the support


class Regularizer(Protocol):
    """What is added to the loss of words."""

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word; differentiable."""
        ...


def regularizers(
    settings: TrainerConfig,
    text: TextEncoder,
    template: str,
    support_SD: Tensor,
    anchor_ND: Tensor,
    dataset: Dataset,
    cells: Sequence[Cell],
) -> list[Regularizer]:
    """Those that the settings ask for.

    Args:
        settings: whose `outside_penalty` and `early_penalty` are the weights; 0 for none.
        text: what reads the words.
        template: the prompt that they are read in.
        support_SD: rows of the support.
        anchor_ND: where the words begin, on the model's device.
        dataset: what the words are to mean.
        cells: which words.

    Raises:
        UserError: the text encoder shows no blocks, or a name is longer than it reads.
    """
    found: list[Regularizer] = []
    if settings.outside_penalty:
        found.append(OffSubspaceRegularizer.of(settings.outside_penalty, support_SD, anchor_ND))
    if settings.early_penalty:
        weight, vectors = settings.early_penalty, settings.vectors
        names = [dataset.concepts[cell.concept] for cell in cells]
        found.append(EarlyLayerRegularizer.of(weight, text, template, anchor_ND, vectors, names))
    return found


def leading_directions(support_SD: Tensor, kept: float = KEPT) -> Tensor:
    """The principal directions [R, D] (float64) that hold `kept` of a centred table's energy.

    A map between tables is fitted on next to nothing in the others.
    """
    centred_SD = (support_SD - support_SD.mean(dim=0)).double()
    energy_D, directions_DD = torch.linalg.eigh(centred_SD.T @ centred_SD)  # ascending
    share_D = energy_D.flip(0).cumsum(0) / energy_D.sum()
    return directions_DD.T.flip(0)[: int((share_D < kept).sum()) + 1]


@dataclass(frozen=True)
class OffSubspaceRegularizer:
    """Weight times the energy of a word's way from its anchor outside the leading directions.

    Attributes:
        weight: of the penalty in the loss.
        directions_RD: see `leading_directions`.
        energy: mean square length of the support's rows, the unit of the penalty.
        anchor_ND: where the words begin.
    """

    weight: float
    directions_RD: Tensor
    energy: float
    anchor_ND: Tensor

    @classmethod
    def of(cls, weight: float, support_SD: Tensor, anchor_ND: Tensor) -> "OffSubspaceRegularizer":
        """The penalty for a model whose support has these rows."""
        directions_RD = leading_directions(support_SD).float().to(anchor_ND.device)
        return cls(weight, directions_RD, float(support_SD.square().sum(dim=1).mean()), anchor_ND)

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word, a mean over its vectors; differentiable."""
        way_NKD = vectors_NKD - self.anchor_ND[:, None]
        inside_NKR = way_NKD @ self.directions_RD.T
        outside_NK = way_NKD.square().sum(dim=2) - inside_NKR.square().sum(dim=2)
        return self.weight * outside_NK.mean(dim=1) / self.energy


@dataclass(frozen=True)
class EarlyLayerRegularizer:
    """Weight times how far a word is, early in the text encoder, from the concept's name.

    Early is behind the first third of the blocks, at the end of the text; the unit is the square
    distance of the anchor from the name, so that a word begins at the weight.

    Attributes:
        weight: of the penalty in the loss.
        text, template: how the model reads the words.
        block: the block that is looked behind.
        name_ND: what stands there for the names.
        unit_N: square distances of the anchors from them.
    """

    weight: float
    text: TextEncoder
    template: str
    block: nn.Module
    name_ND: Tensor
    unit_N: Tensor

    @classmethod
    def of(
        cls,
        weight: float,
        text: TextEncoder,
        template: str,
        anchor_ND: Tensor,
        vectors: int,
        names: Sequence[str],
    ) -> "EarlyLayerRegularizer":
        """The penalty for words of so many vectors that begin at these anchors.

        Raises:
            UserError: see `regularizers`.
        """
        if text.blocks is None:
            raise UserError("trainer.early_penalty: a text encoder shows no blocks to look behind.")
        block = text.blocks[-(-len(text.blocks) // 3) - 1]
        with torch.no_grad():
            rows = [text.name_rows(name).to(anchor_ND.device) for name in names]
            name_ND = torch.cat([behind(text, template, [block], row[None])[0] for row in rows])
            start_NKD = anchor_ND[:, None].expand(-1, vectors, -1)
            start_ND = behind(text, template, [block], start_NKD)[0]
        unit_N = (start_ND - name_ND).square().sum(dim=1)
        unit_N = unit_N.maximum(1e-6 * name_ND.square().sum(dim=1))  # the anchor may be the name
        return cls(weight, text, template, block, name_ND, unit_N)

    def __call__(self, vectors_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word; differentiable."""
        early_ND = behind(self.text, self.template, [self.block], vectors_NKD)[0]
        return self.weight * (early_ND - self.name_ND).square().sum(dim=1) / self.unit_N

"""Transfer regularizers: added to the loss of words, against what is held to hinder transfer.

All are off unless asked for (`trainer.off_subspace_weight`, `trainer.early_layer_weight`); what
became of them is in docs/transfer.md.

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
from vwtransfer.models import Objective
from vwtransfer.models.activations import behind, behind_texts
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.words.cells import Cell

KEPT = 0.9  # of the energy of the support


class Regularizer(Protocol):
    """What is added to the loss of words."""

    def __call__(self, words_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word; differentiable."""
        ...


def regularizers(
    settings: TrainerConfig,
    model: Objective,
    anchor_ND: Tensor,
    dataset: Dataset,
    cells: Sequence[Cell],
) -> list[Regularizer]:
    """Those that the settings ask for.

    Args:
        settings: whose `off_subspace_weight` and `early_layer_weight` are the weights; 0: none.
        model: what reads the words.
        anchor_ND: where the words begin, on the model's device.
        dataset: what the words are to mean.
        cells: which words.

    Raises:
        UserError: the text encoder shows no blocks, or a name is longer than it reads.
    """
    found: list[Regularizer] = []
    if weight := settings.off_subspace_weight:
        for name, encoder in model.text.encoders.items():
            table_SD, part = encoder.rows(model.text.eligible[name]), model.text.slices[name]
            found.append(OffSubspaceRegularizer.of(weight, table_SD, anchor_ND, part))
    if weight := settings.early_layer_weight:
        names = [dataset.concepts[cell.concept] for cell in cells]
        found.append(
            EarlyLayerRegularizer.of(weight, model, anchor_ND, settings.num_vectors, names)
        )
    return found


def leading_directions(table_SD: Tensor, kept: float = KEPT) -> Tensor:
    """The principal directions [R, D] (float64) that hold `kept` of a centred table's energy.

    A map between tables is fitted on next to nothing in the others.
    """
    centred_SD = (table_SD - table_SD.mean(dim=0)).double()
    energy_D, directions_DD = torch.linalg.eigh(centred_SD.T @ centred_SD)  # ascending
    share_D = energy_D.flip(0).cumsum(0) / energy_D.sum()
    return directions_DD.T.flip(0)[: int((share_D < kept).sum()) + 1]


@dataclass(frozen=True)
class OffSubspaceRegularizer:
    """Weight times the energy of a word's way from its anchor outside the leading directions.

    Attributes:
        weight: of the penalty in the loss.
        directions_RD: see `leading_directions`.
        energy: mean square length of the table's rows, the unit of the penalty.
        anchor_ND: where the words begin.
        part: the text encoder's slice of the space.
    """

    weight: float
    directions_RD: Tensor
    energy: float
    anchor_ND: Tensor
    part: slice

    @classmethod
    def of(
        cls, weight: float, table_SD: Tensor, anchor_ND: Tensor, part: slice = slice(None)
    ) -> "OffSubspaceRegularizer":
        """The penalty in a text encoder whose eligible tokens have these rows."""
        directions_RD = leading_directions(table_SD).float().to(anchor_ND.device)
        energy = float(table_SD.square().sum(dim=1).mean())
        return cls(weight, directions_RD, energy, anchor_ND, part)

    def __call__(self, words_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word, a mean over its vectors; differentiable."""
        way_NKD = (words_NKD - self.anchor_ND[:, None])[..., self.part]
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
        encoder, template: how the model reads the words: by its first text encoder.
        part: its slice of the space.
        block: the block that is looked behind.
        name_ND: what stands there for the names.
        unit_N: square distances of the anchors from them.
    """

    weight: float
    encoder: TextEncoder
    template: str
    part: slice
    block: nn.Module
    name_ND: Tensor
    unit_N: Tensor

    @classmethod
    def of(
        cls,
        weight: float,
        model: Objective,
        anchor_ND: Tensor,
        num_vectors: int,
        names: Sequence[str],
    ) -> "EarlyLayerRegularizer":
        """The penalty for words of so many vectors that begin at these anchors.

        Raises:
            UserError: see `regularizers`.
        """
        template = model.prompt_template
        name, encoder = next(iter(model.text.encoders.items()))
        part = model.text.slices[name]
        if encoder.blocks is None:
            raise UserError("trainer.early_layer_weight: a text encoder shows no blocks.")
        block = encoder.blocks[-(-len(encoder.blocks) // 3) - 1]
        with torch.no_grad():
            name_ND = behind_texts(encoder, [block], [template.format(each) for each in names])[0]
            start_NKD = anchor_ND[:, None, part].expand(-1, num_vectors, -1)
            start_ND = behind(encoder, template, [block], start_NKD)[0]
        unit_N = (start_ND - name_ND).square().sum(dim=1)
        unit_N = unit_N.maximum(1e-6 * name_ND.square().sum(dim=1))  # the anchor may be the name
        return cls(weight, encoder, template, part, block, name_ND, unit_N)

    def __call__(self, words_NKD: Tensor) -> Tensor:
        """The penalty [N] of each word; differentiable."""
        read_NKD = words_NKD[..., self.part]
        early_ND = behind(self.encoder, self.template, [self.block], read_NKD)[0]
        return self.weight * (early_ND - self.name_ND).square().sum(dim=1) / self.unit_N

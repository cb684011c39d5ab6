"""Transfer regularizers: added to the loss of words, against what is held to hinder transfer.

All are off unless asked for (`trainer.off_subspace_weight`, `trainer.early_layer_weight`); what
became of them is in docs/transfer.md.

Letters: N words, K vectors per word, D embedding width, S support.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vwtransfer.config import TrainerConfig
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.models import Objective
from vwtransfer.models.activations import behind, behind_texts
from vwtransfer.words.cells import Cell

KEPT = 0.9  # of the energy of the support


Regularizer = Callable[[Tensor], Tensor]
"""What is added to the loss: words [N, K, D] -> the penalty [N] of each; differentiable."""


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
            found.append(off_subspace_regularizer(weight, table_SD, anchor_ND, part))
    if weight := settings.early_layer_weight:
        names = [dataset.concepts[cell.concept] for cell in cells]
        vectors = settings.num_vectors
        found.append(early_layer_regularizer(weight, model, anchor_ND, vectors, names))
    return found


def leading_directions(table_SD: Tensor, kept: float = KEPT) -> Tensor:
    """The principal directions [R, D] (float64) that hold `kept` of a centred table's energy.

    A map between tables is fitted on next to nothing in the others.
    """
    centred_SD = (table_SD - table_SD.mean(dim=0)).double()
    energy_D, directions_DD = torch.linalg.eigh(centred_SD.T @ centred_SD)  # ascending
    share_D = energy_D.flip(0).cumsum(0) / energy_D.sum()
    return directions_DD.T.flip(0)[: int((share_D < kept).sum()) + 1]


def off_subspace_regularizer(
    weight: float, table_SD: Tensor, anchor_ND: Tensor, part: slice = slice(None)
) -> Regularizer:
    """Weight times the energy of a word's way from its anchor outside the leading directions.

    A mean over its vectors; the unit is the mean square length of the table's rows.

    Args:
        weight: of the penalty in the loss.
        table_SD: rows of a text encoder's eligible tokens.
        anchor_ND: where the words begin.
        part: the text encoder's slice of the space.
    """
    directions_RD = leading_directions(table_SD).float().to(anchor_ND.device)
    energy = float(table_SD.square().sum(dim=1).mean())

    def penalty(words_NKD: Tensor) -> Tensor:
        way_NKD = (words_NKD - anchor_ND[:, None])[..., part]
        inside_NKR = way_NKD @ directions_RD.T
        outside_NK = way_NKD.square().sum(dim=2) - inside_NKR.square().sum(dim=2)
        return weight * outside_NK.mean(dim=1) / energy

    return penalty


def early_layer_regularizer(
    weight: float, model: Objective, anchor_ND: Tensor, num_vectors: int, names: Sequence[str]
) -> Regularizer:
    """Weight times how far a word is, early in the text encoder, from the concept's name.

    Early is behind the first third of the blocks of the model's first text encoder, at the end of
    the text; the unit is the square distance of the anchor from the name, so that a word begins at
    the weight.

    Args:
        weight: of the penalty in the loss.
        model: what reads the words.
        anchor_ND: where they begin.
        num_vectors: of a word.
        names: of the concepts, one for each word.

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

    def penalty(words_NKD: Tensor) -> Tensor:
        early_ND = behind(encoder, template, [block], words_NKD[..., part])[0]
        return weight * (early_ND - name_ND).square().sum(dim=1) / unit_N

    return penalty

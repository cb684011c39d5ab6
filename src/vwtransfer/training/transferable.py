"""Words trained so that they transfer: what they may do where no map can follow is made dear.

Letters: N words, K vectors per word, D embedding width, S support.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

KEPT = 0.9  # of the energy of the support


def leading_directions(support_SD: Tensor, kept: float = KEPT) -> Tensor:
    """The principal directions [R, D] (float64) that hold `kept` of a centred table's energy.

    A map between tables is fitted on next to nothing in the others.
    """
    centred_SD = (support_SD - support_SD.mean(dim=0)).double()
    _, values_D, directions_DD = torch.linalg.svd(centred_SD, full_matrices=False)
    share_D = values_D.square().cumsum(0) / values_D.square().sum()
    return directions_DD[: int((share_D < kept).sum()) + 1]


@dataclass(frozen=True)
class OutsidePenalty:
    """Weight times the energy of a word's way from its anchor outside the leading directions.

    Attributes:
        weight: of the penalty in the loss; 0 for none.
        directions_RD: see `leading_directions`.
        energy: mean square length of the support's rows, the unit of the penalty.
    """

    weight: float
    directions_RD: Tensor
    energy: float

    @classmethod
    def of(cls, weight: float, support_SD: Tensor, device: torch.device) -> "OutsidePenalty":
        """The penalty for a model whose support has these rows."""
        directions_RD = leading_directions(support_SD).float().to(device)
        return cls(weight, directions_RD, float(support_SD.square().sum(dim=1).mean()))

    def __call__(self, vectors_NKD: Tensor, anchor_ND: Tensor) -> Tensor:
        """The penalty [N] of each word, a mean over its vectors; differentiable."""
        way_NKD = vectors_NKD - anchor_ND[:, None]
        inside_NKR = way_NKD @ self.directions_RD.T
        outside_NK = way_NKD.square().sum(dim=2) - inside_NKR.square().sum(dim=2)
        return self.weight * outside_NK.mean(dim=1) / self.energy

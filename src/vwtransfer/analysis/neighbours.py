"""Which tokens lie nearest to a trained word, and how far it is from its anchor.

Shapes: N words, K vectors per word, D width of one text encoder's space, S tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AT_ONCE = 4096  # vectors


@dataclass(frozen=True)
class Nearest:
    """The nearest tokens of N K vectors, the nearest first; distances in units of delta.

    Attributes:
        names_NKT: names of the T nearest.
        distance_NKT: how far they are.
        anchor_NK: how far the word's anchor is.
    """

    names_NKT: list[list[list[str]]]
    distance_NKT: Tensor
    anchor_NK: Tensor


def nearest(
    words_NKD: Tensor, anchors_ND: Tensor, tokens_SD: Tensor, names: Sequence[str], count: int
) -> Nearest:
    """Looks through all of a vocabulary's tokens.

    The unit is the distance from a word's anchor to the nearest other token, in which the paper
    measures delta (section 5): a word trained with delta 0.5 has anchor distances up to 0.5.

    Args:
        words_NKD: trained words, in their own space or mapped into another.
        anchors_ND: the embedding of each word's anchor in the same space.
        tokens_SD: the tokens' embeddings there.
        names: of the S tokens.
        count: T, how many of the nearest.
    """
    N, K, D = words_NKD.shape
    unit_N = _unit(anchors_ND, tokens_SD)
    flat = words_NKD.reshape(N * K, D).double()
    found = [
        torch.cdist(part, tokens_SD.double()).topk(min(count, len(names)), largest=False)
        for part in flat.split(AT_ONCE)
    ]
    index = torch.cat([part.indices for part in found]).view(N, K, -1)
    distance = torch.cat([part.values for part in found]).view(N, K, -1)
    to_anchor_NK = (words_NKD.double() - anchors_ND.double()[:, None]).norm(dim=-1)
    return Nearest(
        [[[names[i] for i in vector] for vector in word] for word in index.tolist()],
        distance / unit_N[:, None, None],
        to_anchor_NK / unit_N[:, None],
    )


def _unit(anchors_ND: Tensor, tokens_SD: Tensor) -> Tensor:
    """Distance [N] (float64) from each anchor to the nearest token whose row is another."""
    rows_UD, of_anchor = anchors_ND.unique(dim=0, return_inverse=True)
    units = []
    for row_D in rows_UD.double():
        distance_S = torch.linalg.vector_norm(tokens_SD.double() - row_D, dim=1)
        units.append(distance_S[distance_S > 0].min())
    return torch.stack(units)[of_anchor]

"""Which vocabulary words lie nearest to a trained word, and how far it is from its anchor.

Shapes: N words, K vectors per word, D embedding width, S vocabulary words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vwtransfer.training import projection

AT_ONCE = 4096  # vectors


@dataclass(frozen=True)
class Nearest:
    """The nearest vocabulary words of N K vectors, the nearest first; distances in units of delta.

    Attributes:
        words_NKT: names of the T nearest.
        distance_NKT: how far they are.
        anchor_NK: how far the word's anchor is.
    """

    words_NKT: list[list[list[str]]]
    distance_NKT: Tensor
    anchor_NK: Tensor


def nearest(
    vectors_NKD: Tensor, anchors_ND: Tensor, table_SD: Tensor, names: Sequence[str], count: int
) -> Nearest:
    """Looks through the whole vocabulary.

    The unit is the distance from a word's anchor to the nearest other vocabulary word, in which the
    paper measures delta (section 5): a word trained with delta 0.5 has anchor distances up to 0.5.

    Args:
        vectors_NKD: trained words, in their own space or mapped into another.
        anchors_ND: the embedding of each word's anchor in the same space.
        table_SD: the vocabulary's embeddings there.
        names: of the S vocabulary words.
        count: T, how many of the nearest.
    """
    N, K, D = vectors_NKD.shape
    unit_N = torch.tensor([projection.radius(anchor_D, table_SD, 1.0) for anchor_D in anchors_ND])
    flat = vectors_NKD.reshape(N * K, D).double()
    found = [
        torch.cdist(part, table_SD.double()).topk(min(count, len(names)), largest=False)
        for part in flat.split(AT_ONCE)
    ]
    index = torch.cat([part.indices for part in found]).view(N, K, -1)
    distance = torch.cat([part.values for part in found]).view(N, K, -1)
    to_anchor_NK = (vectors_NKD.double() - anchors_ND.double()[:, None]).norm(dim=-1)
    return Nearest(
        [[[names[i] for i in vector] for vector in word] for word in index.tolist()],
        distance / unit_N[:, None, None],
        to_anchor_NK / unit_N[:, None],
    )

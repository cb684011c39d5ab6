"""The ball a constrained word must stay in (section 5 of the paper): one for each text encoder.

Letters: N words, K vectors per word, D width of the model's space, E text encoders.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def project(
    words_NKD: Tensor, centre_ND: Tensor, radius_NE: Tensor, slices: Sequence[slice]
) -> Tensor:
    """Each vector's nearest point in the l2 balls around its word's centre.

    Args:
        words_NKD: the words.
        centre_ND: y(a), their anchors.
        radius_NE: delta times the distance from the anchor to the nearest other token, in each
            encoder's space; inf for no constraint.
        slices: each encoder's part of D.
    """
    parts = [
        _in_ball(words_NKD[..., part], centre_ND[:, part], radius_NE[:, e])
        for e, part in enumerate(slices)
    ]
    return torch.cat(parts, dim=-1)


def _in_ball(vectors_NKD: Tensor, centre_ND: Tensor, radius_N: Tensor) -> Tensor:
    offset_NKD = vectors_NKD - centre_ND[:, None]
    length_NK1 = torch.linalg.vector_norm(offset_NKD, dim=-1, keepdim=True)
    radius_N11 = radius_N[:, None, None]
    inside = length_NK1 <= radius_N11
    shrunk_NKD = centre_ND[:, None] + offset_NKD * (radius_N11 / length_NK1)
    return torch.where(inside, vectors_NKD, shrunk_NKD)

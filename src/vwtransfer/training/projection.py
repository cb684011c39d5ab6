"""Where a word's vectors may be, in each encoder: in a ball (section 5 of the paper), at a length.

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


def lengths(anchor_ND: Tensor, slices: Sequence[slice]) -> Tensor:
    """How long the anchors' embeddings are in each encoder's space, [N, E]."""
    return torch.stack([anchor_ND[:, part].norm(dim=1) for part in slices], dim=1)


def at_length(words_NKD: Tensor, length_NE: Tensor, slices: Sequence[slice]) -> Tensor:
    """Each vector in its direction, as long as it is to be in each encoder's space.

    Only directions are learned then, as by Kim et al., 2025 ("Directional textual inversion", arXiv
    2512.13672); they take Riemannian SGD and a prior on directions, here Adam's step is projected.
    """
    parts = [words_NKD[..., part] for part in slices]
    held = [
        part_NKD
        * (length_NE[:, e, None, None] / torch.linalg.vector_norm(part_NKD, dim=-1, keepdim=True))
        for e, part_NKD in enumerate(parts)
    ]
    return torch.cat(held, dim=-1)

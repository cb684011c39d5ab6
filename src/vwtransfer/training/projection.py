"""The ball a constrained word must stay in (section 5 of the paper).

Shapes: N words, K vectors per word, D embedding width, S support.
"""

import torch
from torch import Tensor


def radius(anchor_D: Tensor, support_SD: Tensor, delta: float) -> float:
    """Delta * min over support words w != a of ||y(w) - y(a)||.

    Args:
        anchor_D: y(a), the anchor word's embedding.
        support_SD: embeddings y(w) of the support. Rows equal to the anchor's are the anchor.
        delta: share of the distance to the nearest word; inf for no constraint.
    """
    distance_S = torch.linalg.vector_norm(support_SD.double() - anchor_D.double(), dim=1)
    return delta * distance_S[distance_S > 0].min().item()


def project(vectors_NKD: Tensor, centre_ND: Tensor, radius_N: Tensor) -> Tensor:
    """Each vector's nearest point in the l2 ball around its word's centre."""
    offset_NKD = vectors_NKD - centre_ND[:, None]
    length_NK1 = torch.linalg.vector_norm(offset_NKD, dim=-1, keepdim=True)
    radius_N11 = radius_N[:, None, None]
    inside = length_NK1 <= radius_N11
    shrunk_NKD = centre_ND[:, None] + offset_NKD * (radius_N11 / length_NK1)
    return torch.where(inside, vectors_NKD, shrunk_NKD)

"""What can be the vectors of a word: [K, D] finite floats, K vectors of width D."""

import torch
from torch import Tensor

MOST_VECTORS = 512  # of one word; text encoders read 77 to 512 tokens
WIDEST = 16384
LARGEST_VALUE = 65504.0  # of half floats; those of tokens are below 1
LARGEST_FILE = 4 * MOST_VECTORS * WIDEST + 1_000_000  # bytes


def fault(tensor: Tensor) -> str:
    """Why a tensor cannot be the vectors [K, D] of a word; empty where it can.

    Shapes are looked at before values: a small file can hold a tensor of any shape.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return "is no plain tensor"
    if not tensor.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')}, not floats"
    if tensor.ndim != 2 or not tensor.numel():
        return f"has the shape {list(tensor.shape)}, not [vectors, width]"
    if len(tensor) > MOST_VECTORS or tensor.shape[1] > WIDEST:
        return (
            f"has the shape {list(tensor.shape)}; a word has at most {MOST_VECTORS} vectors of "
            f"width {WIDEST}"
        )
    largest = tensor.float().abs().max()  # nan, if there is one
    if not largest.isfinite():
        return "has values that are not finite"
    return f"has values up to {largest:.2g}" if largest > LARGEST_VALUE else ""

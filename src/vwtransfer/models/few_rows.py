"""Products of few rows with large weights, as one word's prompt makes, on all threads of a CPU.

Their time is that of reading the weights, and torch's library for CPUs (MKL) leaves them to one
thread. A batch of products, each with a part of the weights, it spreads over the threads.

Shapes: R rows, I and O width of a layer's input and output, P parts.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_ROWS = 128
LEAST_WEIGHTS = 2**17  # fewer are read in no time

_linear = F.linear


@contextmanager
def on_all_threads() -> Iterator[None]:
    """Within, every linear layer that runs is `linear`, attention's own ones included."""
    F.linear = linear  # type: ignore[assignment]  # its arguments are given by place
    try:
        yield
    finally:
        F.linear = _linear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `torch.nn.functional.linear` gives, differentiable, but for rounding.

    Args:
        x: [..., I].
        weight: [O, I].
        bias: [O].
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return _linear(x, weight, bias)
    O, I = weight.shape  # noqa: E741
    R = x.numel() // I
    P = 1 << (torch.get_num_threads() - 1).bit_length()
    few = R <= MOST_ROWS and weight.numel() >= LEAST_WEIGHTS
    if not few or P == 1 or O % P:
        return _linear(x, weight, bias)
    x_PRI = x.reshape(R, I).expand(P, -1, -1)
    weight_PIO = weight.view(P, O // P, I).transpose(1, 2)
    output_RPO = torch.bmm(x_PRI, weight_PIO).transpose(0, 1)
    output = output_RPO.reshape(*x.shape[:-1], O)
    return output if bias is None else output + bias

"""What each layer of a text encoder makes of words (figures 7 and 12 to 18 of the paper).

Shapes: N words, K vectors per word, D embedding width, L tokens, H layers.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.models.text_encoder import TextEncoder

AT_ONCE = 256  # prompts


def layers_shown(count: int) -> list[int]:
    """Four evenly spaced of `count` layers, from 1: 1, 4, 8, 12 of 12 and 1, 8, 16, 23 of 23."""
    return sorted({max(1, math.ceil(part * count / 3)) for part in range(4)})


@torch.no_grad()
def end_of_text(text: TextEncoder, template: str, vectors_NKD: Tensor) -> Tensor:
    """Activations [H, N, D] of the end-of-text token behind each block, float32 on the CPU."""
    assert text.blocks is not None
    device = text.embedding.weight.device
    parts = [
        behind(text, template, text.blocks, part_NKD.to(device)).cpu()
        for part_NKD in vectors_NKD.split(AT_ONCE)
    ]
    return torch.cat(parts, dim=1)


def behind(
    text: TextEncoder, template: str, blocks: Iterable[nn.Module], vectors_NKD: Tensor
) -> Tensor:
    """What some blocks give [H, N, D] (float32) at the end of the text; differentiable."""
    ids, _ = text.vocabulary.prompt(template, vectors_NKD.shape[1])
    place = text.vocabulary.end(ids)
    found: list[Tensor] = []

    def keep(_block: nn.Module, _inputs: Any, output_NLD: Tensor) -> None:
        found.append(output_NLD[:, place].float())

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        with torch.compiler.set_stance("force_eager"):  # compiled, it sees no new hooks
            text.encode_words(template, vectors_NKD, to_end=True)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


@contextmanager
def cut(text: TextEncoder, blocks: int) -> Iterator[None]:
    """Within, the encoder has only its first `blocks` blocks; the norm behind them stays."""
    assert text.blocks is not None
    rest: Sequence[nn.Module] = list(text.blocks)[blocks:]
    del text.blocks[blocks:]
    try:
        yield
    finally:
        text.blocks.extend(rest)

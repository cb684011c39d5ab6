"""What each layer of a text encoder makes of words (figures 7 and 12 to 18 of the paper).

Shapes: N words, K vectors per word, D embedding width, L tokens, H layers.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.text_encoder import TextEncoder

AT_ONCE = 256  # prompts


def layers_shown(count: int) -> list[int]:
    """Four evenly spaced of `count` layers, from 1: 1, 4, 8, 12 of 12 and 1, 8, 16, 23 of 23."""
    return sorted({max(1, math.ceil(part * count / 3)) for part in range(4)})


@torch.no_grad()
def end_of_text(encoder: TextEncoder, template: str, words_NKD: Tensor) -> Tensor:
    """Activations [H, N, D] behind each block where prompts are read off, float32 on the CPU.

    Args:
        encoder: whose blocks.
        template: the prompt.
        words_NKD: words of this encoder (its slice of a model's words).
    """
    assert encoder.blocks is not None
    parts = [
        behind(encoder, template, encoder.blocks, part_NKD.to(encoder.device)).cpu()
        for part_NKD in words_NKD.split(AT_ONCE)
    ]
    return torch.cat(parts, dim=1)


def behind(
    encoder: TextEncoder, template: str, blocks: Iterable[nn.Module], words_NKD: Tensor
) -> Tensor:
    """What some blocks give [H, N, D] (float32) where a prompt is read off; differentiable."""
    ids, _ = encoder.vocabulary.prompt(template, words_NKD.shape[1])
    places = [encoder.vocabulary.read_index(ids)] * len(words_NKD)
    return _behind(blocks, places, lambda: encoder.encode_words(template, words_NKD, to_end=True))


def behind_texts(encoder: TextEncoder, blocks: Iterable[nn.Module], texts: Sequence[str]) -> Tensor:
    """What some blocks give [H, N, D] (float32) where plain prompts are read off."""
    vocabulary = encoder.vocabulary
    places = [vocabulary.read_index(vocabulary.encode(text)) for text in texts]
    return _behind(blocks, places, lambda: encoder.encode_text(texts, to_end=True))


def _behind(
    blocks: Iterable[nn.Module], places: Sequence[int], encode: Callable[[], object]
) -> Tensor:
    found: list[Tensor] = []

    def keep(_block: nn.Module, _inputs: Any, output: Any) -> None:
        output_NLD = output[0] if isinstance(output, tuple) else output
        found.append(output_NLD[range(len(places)), places].float())

    with ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(keep))
        with torch.compiler.set_stance("force_eager"):  # compiled, it sees no new hooks
            encode()
    return torch.stack(found)


@contextmanager
def cut(text: EmbeddingSpace, blocks: int) -> Iterator[None]:
    """Within, text encoders pass on what their first blocks give; the norm behind them stays.

    Nothing of the model is changed: hooks give the input of every further block as its output.

    Args:
        text: a model's encoders; those without blocks to look into stay whole.
        blocks: how many of the first encoder's run; of the others the same share, rounded up.
    """
    lists = [list(encoder.blocks) for encoder in text.encoders.values() if encoder.blocks]
    with ExitStack() as hooks:
        for own in lists:
            for block in own[math.ceil(blocks * len(own) / len(lists[0])) :]:
                hooks.enter_context(block.register_forward_hook(_skipped, with_kwargs=True))
        with torch.compiler.set_stance("force_eager"):  # compiled, it sees no new hooks
            yield


def _skipped(_block: nn.Module, inputs: Any, named: dict[str, Any], output: Any) -> Any:
    """The input of a block in the form of its output."""
    input_NLD = inputs[0] if inputs else named["hidden_states"]
    return (input_NLD, *output[1:]) if isinstance(output, tuple) else input_NLD

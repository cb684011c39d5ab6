"""Generations: drawn as many at once as memory holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from one_gradient import task
from vwtransfer.tasks.generation import draw

WORDS = ["star", "heart", "moon", "ring", "cross"]


def drawn(generation: Any) -> np.ndarray:
    """An image of each word, [5, H, W, 3]."""
    streams = [torch.Generator().manual_seed(n) for n in range(len(WORDS))]
    with torch.no_grad():
        text = generation.text.encode_text([f"a photo of {word}" for word in WORDS])
        return np.stack([np.asarray(image, dtype=int) for image in draw(generation, text, streams)])


class SmallDevice:
    """A pipeline on a device that holds two images; it runs out after the noise is drawn."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def __call__(
        self, prompt_embeds: Tensor, generator: Sequence[torch.Generator], **rest: Any
    ) -> Any:
        self.asked.append(len(generator))
        if len(generator) > 2:
            for stream in generator:
                torch.randn(3, generator=stream)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.pipeline(prompt_embeds=prompt_embeds, generator=generator, **rest)


def test_where_memory_runs_out_fewer_are_drawn_at_once_and_the_images_are_the_same() -> None:
    plain, small = (task("generation", "denoising_steps=2") for _ in range(2))
    device = SmallDevice(small.pipeline)
    small.pipeline = device
    expected, found = drawn(plain), drawn(small)
    assert np.abs(expected - found).max() <= 1
    assert np.abs(expected[0] - expected[1]).max() > 50  # else any order would do
    assert device.asked == [5, 2, 2, 1]


def test_memory_that_does_not_hold_one_image_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    generation = task("generation", "denoising_steps=2")

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generation, "draw", full)
    with pytest.raises(torch.OutOfMemoryError):
        drawn(generation)

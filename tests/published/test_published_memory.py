"""The memory that SD 2.1 takes at its full size, counted on tensors without content."""

from pathlib import Path
from typing import Any

import memory
import pytest
import torch
from published_models import REPOSITORIES

from vwtransfer.config.composition import compose
from vwtransfer.models.suite import build
from vwtransfer.tasks.generation import DRAWN_AT_ONCE

pytestmark = pytest.mark.published

CARD = 10e9  # of the 11e9 bytes of the paper's RTX 2080 Ti: CUDA takes some for itself


def generation(saving: tuple[str, ...], folder: Path) -> Any:
    """The model with the shallow checkpoint, small images and full precision."""
    keys = ["model=paper", f"model.generation.checkpoint={folder}"]
    keys += ["model.generation.dtype=float32", "model.generation.image_size=64"]
    keys += [f"model.generation.memory_savers=[{','.join(saving)}]"]
    return build(compose(keys), torch.device("cpu")).models["sd21"]


def counts(model: Any) -> list[int]:
    return [
        memory.weights(model),
        memory.step(model, 1),
        memory.step(model, 2),
        memory.encoding(model),
        memory.drawing(model, 2),
    ]


@pytest.mark.parametrize("saving", [(), memory.SAVING])
def test_tensors_without_content_count_as_real_ones(
    saving: tuple[str, ...], checkpoints: Path
) -> None:
    folder = checkpoints / REPOSITORIES["sd21"][1]
    real = counts(generation(saving, folder))
    model = generation(saving, folder)
    with memory.without_content(model, folder, torch.float32):
        assert counts(model) == real


def test_a_word_of_stable_diffusion_fits_on_a_card_of_11_gb() -> None:
    preset = compose(["cluster=gpu_11gb", "model=paper"]).model.models["sd21"]["memory_savers"]
    assert tuple(preset) == memory.SAVING
    with memory.as_published(preset, 768) as model:
        weights = memory.weights(model)
        assert weights == pytest.approx(2.58e9, rel=0.01)  # 1.29 billion in float16
        for part in (
            memory.step(model, 1),
            memory.encoding(model),
            memory.drawing(model, DRAWN_AT_ONCE),
        ):
            assert weights + part < CARD

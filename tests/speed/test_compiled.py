"""A compiled model gives the losses and gradients of the one that is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from one_gradient import WEIGHTS, gradient, task
from vwtransfer.models.activations import end_of_text

pytestmark = pytest.mark.compiled


@pytest.mark.parametrize("name", ["detection", "classification"])
def test_a_compiled_text_tower_gives_the_same_gradient_and_can_be_looked_into(name: str) -> None:
    compiled, plain = task(name, "compiled=true"), task(name)
    torch.testing.assert_close(gradient(compiled), gradient(plain), rtol=1e-3, atol=1e-6)
    words = plain.text.anchor_rows(["red", "red"])[None]
    with torch.no_grad():
        compiled.text.encode_words(compiled.prompt_template, words)  # compiled as a study measures
    layers = []
    for found in (compiled, plain):
        (encoder,) = found.text.encoders.values()
        layers.append(end_of_text(encoder, found.prompt_template, words))
    torch.testing.assert_close(*layers, rtol=1e-3, atol=1e-5)


def test_a_compiled_unet_gives_the_same_gradient(tmp_path: Path) -> None:
    folder = tmp_path / "generation"
    shutil.copytree(WEIGHTS / "generation", folder)
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    smaller = {
        "block_out_channels": [16, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    torch.manual_seed(0)
    UNet2DConditionModel.from_config(config | smaller).save_pretrained(folder / "unet")
    checkpoint = f"checkpoint={folder}"
    compiled = gradient(task("generation", checkpoint, "compiled=true"))
    plain = gradient(task("generation", checkpoint))
    torch.testing.assert_close(compiled, plain, rtol=1e-3, atol=1e-6)

"""What of a model is chosen by config: numbers stay, and what cannot be is refused in a line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from composing import compose
from one_gradient import WEIGHTS, gradient, task
from vwtransfer.config.identity import identity
from vwtransfer.errors import UserError

MEMORY = "[attention_slicing,vae_slicing,vae_tiling,gradient_checkpointing]"


@pytest.mark.parametrize("name", ["generation", "detection"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_changes_no_number(name: str, attention: str) -> None:
    ours = gradient(task(name, f"attention={attention}"))
    torch.testing.assert_close(ours, gradient(task(name)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("option", [f"memory_savers={MEMORY}", "channels_last=true"])
def test_neither_saving_memory_nor_its_layout_changes_gradients_or_images(option: str) -> None:
    saving, plain = (
        task("generation", option, "denoising_steps=2"),
        task("generation", "denoising_steps=2"),
    )
    unet = saving.pipeline.unet
    assert unet.is_gradient_checkpointing == option.startswith("memory_savers")
    in_channels_last = unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert in_channels_last == (option == "channels_last=true")
    torch.testing.assert_close(gradient(saving), gradient(plain), rtol=1e-3, atol=1e-6)
    images = []
    for found in (saving, plain):
        with torch.no_grad():
            text = found.text.encode_text(["a photo of star"])
            images.append(found.draw(text, [torch.Generator().manual_seed(0)])[0])
    difference = np.abs(np.asarray(images[0], dtype=int) - np.asarray(images[1], dtype=int))
    assert difference.max() <= 1


def test_such_options_are_no_part_of_a_words_identity() -> None:
    plain = identity(compose([]))
    chosen = ["compiled=true", "channels_last=true", f"memory_savers={MEMORY}"]
    ours = [f"model.generation.{option}" for option in chosen]
    assert identity(compose([*ours, "model.detection.attention=eager"])) == plain
    assert identity(compose(["model.generation.dtype=float16"])) != plain


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("KandinskyPipeline", "not supported. Supported: StableDiffusionPipeline .*sd21 or sd15"),
        ("StableDiffusionXLPipeline", "Take this checkpoint with model/generation=sdxl, whose"),
    ],
)
def test_a_pipeline_of_another_class_is_refused_with_what_to_take(
    kind: str, line: str, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(WEIGHTS / "generation", folder)
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": kind}))
    with pytest.raises(UserError, match=line):
        _ = task("generation", f"checkpoint={folder}").vocabularies


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


def test_code_in_a_pickled_checkpoint_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clip"
    shutil.copytree(WEIGHTS / "classification", folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    torch.save({"token_embedding.weight": Trap()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="holds code beside weights, which is never run"):
        _ = task("classification", f"checkpoint={folder}").text
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", ["generation", "detection", "classification"])
def test_without_a_network_a_missing_repository_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = task(name, "checkpoint=nobody/nothing", "revision=v2")
    with pytest.raises(UserError, match=r"hf download nobody/nothing --revision v2 \w+"):
        _ = found.vocabularies

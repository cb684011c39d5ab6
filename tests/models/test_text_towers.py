"""A text tower is read alone, and a whole model reads text by the same one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import small_siglips
from composing import compose
from vwtransfer.config.composition import package_folder
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build

WEIGHTS = Path(package_folder("vwtransfer.tinyworld")) / "weights"
TINY = {  # a model -> the folder of its weights, and a part of the names of tensors that see images
    "tiny_owlv2": ("detection", ("vision", "visual", "head")),
    "tiny_clip": ("classification", ("visual",)),
    "tiny_siglip": ("tiny_siglip", ("vision",)),
    "tiny_grounding_dino": ("tiny_grounding_dino", ("backbone.conv_encoder", "encoder.layers")),
}
PROMPTS = ["a photo of a red star", "blue"]


def without(folder: Path, sees: tuple[str, ...], to: Path) -> Path:
    """A copy of a checkpoint without the tensors that see images."""
    shutil.copytree(folder, to)
    (file,) = to.glob("*model.safetensors")
    tensors = load_file(file)
    kept = {name: t for name, t in tensors.items() if not any(part in name for part in sees)}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, file, metadata={"format": "pt"})
    return to


def model_of(name: str, folder: Path) -> Any:
    chosen = ["model=tiny_families", f"model.{name}.checkpoint={folder}"]
    return build(compose(chosen), torch.device("cpu")).models[name]


@torch.no_grad()
def read(model: Any) -> torch.Tensor:
    """What its text tower makes of prompts."""
    encoded = model.text.encode_text(PROMPTS).only
    found: torch.Tensor = encoded.states_NLD if encoded.pooled_NE is None else encoded.pooled_NE
    return found


@pytest.mark.parametrize("name", TINY)
def test_words_are_read_without_what_sees_images(tmp_path: Path, name: str) -> None:
    folder, sees = TINY[name]
    blind = model_of(name, without(WEIGHTS / folder, sees, tmp_path / "blind"))
    whole = model_of(name, WEIGHTS / folder)
    _ = whole.model  # first, so that its text is read by what stands in the whole model
    assert torch.equal(read(blind), read(whole))
    assert blind.text.weights_identity == whole.text.weights_identity
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.* does not load"):
        _ = blind.model


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_tower_apart_in_open_clip_is_read_alone(tmp_path: Path, kind: str) -> None:
    folder = small_siglips.save_open_clip(kind, tmp_path / "whole")
    blind = small_siglips.classifier(without(folder, ("visual",), tmp_path / "blind"))
    assert torch.equal(read(blind), read(small_siglips.classifier(folder)))


def test_a_whole_model_holds_no_second_tower() -> None:
    holders: dict[str, Callable[[Any], Any]] = {
        "tiny_owlv2": lambda model: model.owlv2.text_model.embeddings.token_embedding,
        "tiny_clip": lambda model: model.token_embedding,
        "tiny_siglip": lambda model: model.text_model.embeddings.token_embedding,
        "tiny_grounding_dino": lambda model: model.model.text_backbone.embeddings.word_embeddings,
    }
    for name, (folder, _) in TINY.items():
        model = model_of(name, WEIGHTS / folder)
        (encoder,) = model.text.encoders.values()
        assert holders[name](model.model) is encoder.embedding, name

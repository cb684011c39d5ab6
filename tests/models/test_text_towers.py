"""A text tower is read alone, and a whole model reads text by the same one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

import small_siglips
from composing import compose
from vwtransfer.config.composition import package_folder
from vwtransfer.errors import UserError
from vwtransfer.models.grounding_fusion import project_text
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


def ids(model: Any) -> torch.Tensor:
    (vocabulary,) = model.vocabularies.values()
    rows = [vocabulary.encode(prompt) for prompt in PROMPTS]
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


@torch.no_grad()
def by_open_clip(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """What the library makes of the prompts, by a model of its own."""
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}", precision="fp32")
    found: torch.Tensor = model.eval().encode_text(ids, normalize=True)
    return found


@torch.no_grad()
def by_owlv2(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = transformers.Owlv2ForObjectDetection.from_pretrained(folder, dtype=torch.float32).owlv2
    pooled = model.text_model(input_ids=ids).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


@torch.no_grad()
def by_siglip(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model = transformers.SiglipModel.from_pretrained(folder, dtype=torch.float32)
    return F.normalize(model.text_model(input_ids=ids).pooler_output, dim=-1)


@torch.no_grad()
def by_grounding_dino(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    kind = getattr(transformers, transformers.AutoConfig.from_pretrained(folder).architectures[0])
    return project_text(kind.from_pretrained(folder, dtype=torch.float32).model, ids)


LIBRARY: dict[str, Callable[[Path, torch.Tensor], torch.Tensor]] = {
    "tiny_owlv2": by_owlv2,
    "tiny_clip": by_open_clip,
    "tiny_siglip": by_siglip,
    "tiny_grounding_dino": by_grounding_dino,
}


@pytest.mark.parametrize("name", TINY)
def test_words_are_read_without_what_sees_images(tmp_path: Path, name: str) -> None:
    folder, sees = TINY[name]
    blind = model_of(name, without(WEIGHTS / folder, sees, tmp_path / "blind"))
    whole = model_of(name, WEIGHTS / folder)
    assert torch.equal(read(blind), read(whole))
    torch.testing.assert_close(read(blind), LIBRARY[name](WEIGHTS / folder, ids(blind)))
    assert blind.text.weights_identity == whole.text.weights_identity
    with pytest.raises(UserError, match=rf"model\.{name}\.checkpoint=.* does not load"):
        _ = blind.model


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_tower_apart_in_open_clip_is_read_alone(tmp_path: Path, kind: str) -> None:
    folder = small_siglips.save_open_clip(kind, tmp_path / "whole")
    blind = small_siglips.classifier(without(folder, ("visual",), tmp_path / "blind"))
    assert torch.equal(read(blind), read(small_siglips.classifier(folder)))
    torch.testing.assert_close(read(blind), by_open_clip(folder, ids(blind)))


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

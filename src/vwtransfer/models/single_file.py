"""Text encoders out of one file with a whole Stable Diffusion 1.5, 2.1 or SDXL.

diffusers converts the tensors. It would fetch the configs and the tokenizer from the hub: here the
configs follow from the tensors' shapes, and CLIP's tokenizer from the vocabulary in open_clip.
"""

import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from vwtransfer.models.checkpoints import freeze
from vwtransfer.models.vocabulary import hub_name

HEAD = 64  # width of an attention head in all of them


class Layout(NamedTuple):
    """A text encoder in such a file.

    Attributes:
        start: how its tensors' names begin.
        activation: of its blocks.
        unread: how many blocks at its end no model reads.
    """

    start: str
    activation: str
    unread: int = 0


SD1 = (Layout("cond_stage_model.transformer.", "quick_gelu"),)
SD2 = (Layout("cond_stage_model.model.", "gelu", unread=1),)
SDXL = (
    Layout("conditioner.embedders.0.", "quick_gelu"),
    Layout("conditioner.embedders.1.model.", "gelu"),
)


def text_encoders(
    path: Path, classes: Mapping[str, type], dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """The library's text encoders, frozen; of the file nothing else is read.

    Args:
        path: a safetensors file.
        classes: class of each text encoder, by its folder in a pipeline.
        dtype: precision.
        device: where they run.

    Raises:
        ValueError: a tensor is missing or of another shape.
    """
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from transformers import CLIPTextConfig

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        layouts = _layouts(names)
        starts = tuple(layout.start for layout in layouts)
        tensors = {_usual(name): file.get_tensor(name) for name in names if name.startswith(starts)}
    if len(layouts) != len(classes):
        raise ValueError(f"it has {len(layouts)} text encoders, not {len(classes)}")
    found = {}
    for (folder, kind), layout in zip(classes.items(), layouts, strict=True):
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(layout.start)}
        own = _without_last(own, layout.unread)
        config = CLIPTextConfig(**_sizes(own), hidden_act=layout.activation)
        with tempfile.TemporaryDirectory() as place:
            config.save_pretrained(place)
            model = create_diffusers_clip_model_from_ldm(kind, own, config=place, torch_dtype=dtype)
        _refuse_missing(model)
        freeze(model, device)
        found[folder] = model
    return found


@cache
def clip_tokenizer() -> Any:
    """The CLIPTokenizer of these models, of the byte-pair merges that open_clip brings."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    theirs = SimpleTokenizer()
    vocabulary = {hub_name(token): number for token, number in theirs.encoder.items()}
    merges = sorted(theirs.bpe_ranks, key=theirs.bpe_ranks.__getitem__)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _layouts(names: list[str]) -> tuple[Layout, ...]:
    """The text encoders of a file, in the order in which its model reads them."""
    for layouts in (SDXL, SD2, SD1):
        if any(name.startswith(layouts[-1].start) for name in names):
            return layouts
    raise ValueError("it holds no text encoder of Stable Diffusion 1.5, 2.1 or SDXL")


def _usual(name: str) -> str:
    """A tensor's name as most files have it: some merged ones leave out "text_model"."""
    short = SD1[0].start
    rest = name.removeprefix(short)
    return name if rest == name or rest.startswith("text_model.") else f"{short}text_model.{rest}"


def _block(name: str) -> str | None:
    """The number of the block that a tensor is of."""
    match = re.search(r"\.(?:layers|resblocks)\.(\d+)\.", name)
    return match and match[1]


def _without_last(tensors: Mapping[str, Tensor], unread: int) -> dict[str, Tensor]:
    """The tensors without those of the last blocks, which the model does not read."""
    numbers = sorted({int(number) for number in map(_block, tensors) if number})
    last = {str(number) for number in numbers[len(numbers) - unread :]}
    return {name: tensor for name, tensor in tensors.items() if _block(name) not in last}


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """A CLIP text encoder's sizes, of its tensors in CLIP's or in open_clip's layout."""

    def shape(*ends: str) -> list[int]:
        for name, tensor in tensors.items():
            if name.endswith(ends):
                return list(tensor.shape)
        raise ValueError(f"it lacks the tensor {ends[0]}")

    vocabulary, width = shape("token_embedding.weight")
    positions, _ = shape("position_embedding.weight", "positional_embedding")
    inner, _ = shape("mlp.fc1.weight", "mlp.c_fc.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "max_position_embeddings": positions,
        "intermediate_size": inner,
        "num_hidden_layers": len(set(filter(None, map(_block, tensors)))),
        "num_attention_heads": width // HEAD,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def _refuse_missing(model: Any) -> None:
    missing = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if missing:
        raise ValueError(f"it lacks {len(missing)} tensors of a text encoder, such as {missing[0]}")

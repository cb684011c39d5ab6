"""Writes SD 3.5 and FLUX.1 in their own layouts, with random weights in bfloat16, as published.

Widths and vocabularies are the published ones; depth is not, unless all of it is asked for. CLIP's
vocabulary is its own. T5's has as many pieces as the published one, which is on no machine without
a network: words of CLIP's vocabulary, pairs and single characters, with made-up scores.
"""

import json
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from layouts import CONFIGS, _edit, _read, _save, _write_vocabulary
from torch import Tensor

REPOSITORIES = {
    "sd35_medium": "stable-diffusion-3.5-medium",
    "flux1_dev": "FLUX.1-dev",
    "flux1_schnell": "FLUX.1-schnell",
}
PIECES = 32_000  # of T5's tokenizer, beside 100 for gaps; its table has 32,128 rows
_SHALLOW: Mapping[str, Mapping[str, Any]] = {
    "text_encoder": {"num_hidden_layers": 2},
    "text_encoder_2": {"num_hidden_layers": 2, "num_layers": 1},
    "text_encoder_3": {"num_layers": 1},
    "vae": {"layers_per_block": 1, "sample_size": 32},
}
_SHALLOW_TRANSFORMER: Mapping[str, Mapping[str, Any]] = {
    "FluxTransformer2DModel": {"num_layers": 1, "num_single_layers": 1},
    "SD3Transformer2DModel": {
        "num_layers": 2,
        "dual_attention_layers": [0],
        "sample_size": 4,
        "pos_embed_max_size": 8,
        "_diffusers_version": "0.31.0",
    },
}


def write(model: str, folder: Path, linked: dict[str, Path], deep: Sequence[str] = ()) -> Path:
    """Writes one of REPOSITORIES at reduced depth, and for small images; returns where.

    Args:
        model: which one.
        folder: where it goes.
        linked: files that models share, of those that were written before.
        deep: parts that keep their published depth.
    """
    here = folder / REPOSITORIES[model]
    shutil.copytree(CONFIGS / REPOSITORIES[model], here)
    for part, changes in _SHALLOW.items():
        path = here / part / "config.json"
        known = _read(path)
        if known and part not in deep:
            _edit(path, {key: value for key, value in changes.items() if key in known})
    kind = _read(here / "transformer/config.json")["_class_name"]
    if "transformer" not in deep:
        _edit(here / "transformer/config.json", _SHALLOW_TRANSFORMER[kind])
    for tokenizer in here.glob("tokenizer*"):
        if _read(tokenizer / "tokenizer_config.json")["tokenizer_class"] == "CLIPTokenizer":
            _write_vocabulary(tokenizer)
        else:
            t5_tokenizer().save_pretrained(tokenizer)
    for path in sorted(here.glob("*/config.json")):
        _write_weights(path.parent, linked)
    return here


@cache
def t5_tokenizer() -> Any:
    """A T5 tokenizer of the published size."""
    from transformers import T5TokenizerFast

    words = open_clip.tokenizer.SimpleTokenizer().encoder
    whole = [w.removesuffix("</w>") for w in words if w.endswith("</w>")]
    pieces = [f"▁{w}" for w in whole if w.isascii() and w.isalpha()]
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    parts = [*letters, *(a + b for a in string.ascii_lowercase for b in string.ascii_lowercase)]
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)]
    scored += [(part, -8.0) for part in parts]
    scored += [(piece, -5.0) for piece in pieces[: PIECES - len(scored)]]
    scored += [(f"▁{number}", -9.5) for number in range(PIECES - len(scored))]
    return T5TokenizerFast(vocab=scored, extra_ids=100, model_max_length=512)


def without_weights(part: Path) -> Any:
    """The module that a folder's config.json describes, on the meta device."""
    import diffusers
    import transformers

    config = _read(part / "config.json")
    with torch.device("meta"):
        if "_class_name" in config:
            kind = getattr(diffusers, config["_class_name"])
            return kind.from_config(kind.load_config(part))
        kind = getattr(transformers, config["architectures"][0])
        return kind(kind.config_class.from_pretrained(part))


def _write_weights(part: Path, linked: dict[str, Path]) -> None:
    """Writes a part's weights; a part that another one equals shares its file."""
    config = _read(part / "config.json")
    name = "diffusion_pytorch_model" if "_class_name" in config else "model"
    path, key = part / f"{name}.safetensors", json.dumps(config.get("d_model"))
    if "d_model" in config and key in linked:
        path.symlink_to(linked[key])
        return
    _save(dict(_weights(part)), path)
    linked[key] = path


def _weights(part: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors by the names of the published files, which the libraries still use but CLIP's."""
    pattern = torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0))
    prefixed = "CLIPTextModel" in _read(part / "config.json").get("architectures", [])
    for name, tensor in without_weights(part).state_dict().items():
        if name == "encoder.embed_tokens.weight":
            continue  # T5's other name for its one table
        named = f"text_model.{name.removeprefix('text_model.')}" if prefixed else name
        if tensor.ndim == 1:
            value = torch.ones if name.endswith("weight") else torch.zeros
            yield named, value(tensor.shape, dtype=torch.bfloat16)
            continue
        scale = 1.0 if "shared" in name else tensor[0].numel() ** -0.5
        copies = -(-tensor.numel() // len(pattern))
        yield (
            named,
            (pattern * scale).bfloat16().repeat(copies)[: tensor.numel()].view(tensor.shape),
        )


def sizes(model: str) -> dict[str, int]:
    """Parameters of each part of a published checkpoint, counted without weights."""
    folder = CONFIGS / REPOSITORIES[model]
    return {
        path.parent.name: sum(p.numel() for p in without_weights(path.parent).parameters())
        for path in sorted(folder.glob("*/config.json"))
    }

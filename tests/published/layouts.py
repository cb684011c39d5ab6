"""Writes each published checkpoint in its own layout on disk, with random weights.

The small files are copies of the published ones, in configs/. Weight files hold the names, shapes
and types of the published ones, which differ from what today's libraries would write.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import grounding_layouts
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from vwtransfer.tinyworld.lexicon import words
from vwtransfer.tinyworld_build.tokenizer import merges_of

CONFIGS = Path(__file__).parent / "configs"
GEMMAS_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
WORDS = ("strawberry", "cat", "boat", "rubber", "duck")  # beside those of the tiny world

# What a shallow copy changes, by the file's path: depth, and sides of images where they are dear.
_SHALLOW: Mapping[str, Mapping[str, Any]] = {
    "text_encoder/config.json": {"num_hidden_layers": 2},
    "text_encoder_2/config.json": {"num_hidden_layers": 2},
    "unet/config.json": {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [320, 640],
        "layers_per_block": 1,
        "sample_size": 4,
        "_diffusers_version": "0.10.0",  # of an older one diffusers takes small sizes for mistakes
    },
    "vae/config.json": {"layers_per_block": 1},
    "config.json": {
        "text_config": {"num_hidden_layers": 2},
        "text_config_dict": {"num_hidden_layers": 2},  # where there is one, it is what counts
        "vision_config": {"num_hidden_layers": 2},
    },
    "open_clip_config.json": {
        "model_cfg": {"text_cfg": {"layers": 2}, "vision_cfg": {"layers": 2}}
    },
}
# image towers whose depth is part of their name: a small one of the same kind
_TOWERS: Mapping[str, Mapping[str, Any]] = {
    "PE-Core-L-14-336": {"timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": 384},
    "MobileCLIP2-S4-OpenCLIP": {"timm_model_name": "fastvit_mci0", "image_size": 64},
}
_SIDES = {
    "owlv2-base-patch16-ensemble": 240,
    "owlv2-large-patch14-ensemble": 210,
    "siglip2-base-patch16-224": 64,
    "siglip2-so400m-patch14-384": 56,
}


def write(name: str, folder: Path, *, shallow: bool) -> Path:
    """Writes the checkpoint `name` (a folder of configs/) into `folder`, and returns where.

    Args:
        name: the repository's name.
        folder: where it goes.
        shallow: two layers a tower, two blocks of the UNet, small images; otherwise as published.
    """
    if name in grounding_layouts.NAMES:
        return grounding_layouts.write(name, folder, shallow=shallow)
    here = folder / name
    shutil.copytree(CONFIGS / name, here)
    if shallow:
        _make_shallow(here, _SIDES.get(name))
    torch.manual_seed(0)
    for tokenizer in here.rglob("tokenizer_config.json"):
        if _read(tokenizer)["tokenizer_class"] == "GemmaTokenizer":
            _write_gemmas_vocabulary(tokenizer.parent)
        else:
            _write_vocabulary(tokenizer.parent)
    for path, writer in _WRITERS.items():
        if (here / path).is_file():
            writer((here / path).parent)
    return here


def _make_shallow(folder: Path, side: int | None) -> None:
    for path, changes in _SHALLOW.items():
        if (folder / path).is_file():
            _edit(folder / path, changes)
    if folder.name in _TOWERS:
        tower = {"model_cfg": {"vision_cfg": _TOWERS[folder.name]}}
        _edit(folder / "open_clip_config.json", tower)
    if side is not None:
        _edit(folder / "config.json", {"vision_config": {"image_size": side}})
        _edit(folder / "preprocessor_config.json", {"size": {"height": side, "width": side}})
    unet = folder / "unet/config.json"
    heads = _read(unet).get("attention_head_dim")
    if isinstance(heads, list):
        _edit(unet, {"attention_head_dim": heads[:2]})
    if "transformer_layers_per_block" in _read(unet):
        _edit(unet, {"transformer_layers_per_block": 1})


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return values


def _edit(path: Path, changes: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_merged(_read(path), changes), indent=2))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the changes made; a group that is not among the values stays away."""
    groups = {k: v for k, v in changes.items() if isinstance(v, Mapping)}
    plain = {k: v for k, v in changes.items() if k not in groups}
    inner = {k: _merged(values[k], v) for k, v in groups.items() if k in values}
    return {**values, **plain, **inner}


def _write_vocabulary(folder: Path) -> None:
    """CLIP's byte-pair encoding as vocab.json and merges.txt, out of open_clip's copy of it."""
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in tokenizer.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    ranked = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in ranked)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")


def _write_gemmas_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(_gemmas_vocabulary(), encoding="utf-8")


@cache
def _gemmas_vocabulary() -> str:
    """A tokenizer.json of the size and the kind of Gemma's: its own was not at hand.

    It has the words of the tests, and up to 256,000 tokens that nothing is read as.
    """
    from transformers import GemmaTokenizer

    texts = [f"{blank}{word}" for word in (*words(), *WORDS) for blank in ("▁", "")]
    made, merges = merges_of(dict.fromkeys(texts))
    pieces = [*GEMMAS_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += [*map(chr, range(ord("!"), ord("~") + 1)), *made]
    pieces += [f"▁unused{number}" for number in range(256_000 - len(dict.fromkeys(pieces)))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges)
    text: str = tokenizer.backend_tokenizer.to_str()
    return text


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, {"format": "pt"})


def _positions(count: int) -> Tensor:
    return torch.arange(count)[None]


def _write_text_encoder(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig.from_pretrained(folder)
    tensors = CLIPTextModel(config).state_dict()
    named = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in tensors.items()}
    named["text_model.embeddings.position_ids"] = _positions(config.max_position_embeddings)
    _save(named, folder / "model.safetensors")


def _write_projected_text_encoder(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig.from_pretrained(folder)
    config.dtype = torch.float32  # of the file, whatever the config says
    tensors = dict(CLIPTextModelWithProjection(config).state_dict())
    tensors["text_model.embeddings.position_ids"] = _positions(config.max_position_embeddings)
    _save(tensors, folder / "model.safetensors")


def _write_unet(folder: Path) -> None:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel.from_config(_read(folder / "config.json"))
    _save(model.state_dict(), folder / "diffusion_pytorch_model.safetensors")


def _write_vae(folder: Path) -> None:
    from diffusers import AutoencoderKL

    published = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    model = AutoencoderKL.from_config(_read(folder / "config.json"))
    for name, tensor in model.state_dict().items():
        for new, old in published.items():
            name = name.replace(f".{new}.", f".{old}.")
        tensors[name] = tensor
    _save(tensors, folder / "diffusion_pytorch_model.safetensors")


def _write_open_clip(folder: Path) -> None:
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")


def _write_transformers(folder: Path) -> None:
    architecture = _read(folder / "config.json")["architectures"][0]
    {
        "Owlv2ForObjectDetection": _write_owlv2,
        "CLIPModel": _write_clip,
        "SiglipModel": _write_siglip,
        "StableDiffusionSafetyChecker": _write_safety_checker,
    }[architecture](folder)


def _write_owlv2(folder: Path) -> None:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    model = Owlv2ForObjectDetection(Owlv2Config.from_pretrained(folder))
    _save(model.state_dict(), folder / "model.safetensors")


def _write_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig.from_pretrained(folder))
    tensors = dict(model.state_dict())
    tensors["text_model.embeddings.position_ids"] = _positions(77)
    tensors["vision_model.embeddings.position_ids"] = _positions(257)
    _save(tensors, folder / "model.safetensors")


def _write_siglip(folder: Path) -> None:
    """With a table of the same 2,000 rows again and again: 295 million numbers take a while."""
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig.from_pretrained(folder)
    size, config.text_config.vocab_size = config.text_config.vocab_size, 2000
    tensors = SiglipModel(config).state_dict()
    tensors["logit_scale"] += 4.7
    tensors["logit_bias"] -= 16.5
    table = "text_model.embeddings.token_embedding.weight"
    tensors[table] = tensors[table].repeat(size // 2000, 1)
    _save(tensors, folder / "model.safetensors")


def _write_safety_checker(folder: Path) -> None:
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    model = StableDiffusionSafetyChecker._from_config(
        CLIPConfig.from_pretrained(folder), attn_implementation="eager"
    )
    tensors = {
        name.replace("vision_model.", "vision_model.vision_model.", 1): tensor
        for name, tensor in model.state_dict().items()
    }
    tensors["vision_model.vision_model.embeddings.position_ids"] = _positions(257)
    torch.save(tensors, folder / "pytorch_model.bin")


_WRITERS: Mapping[str, Callable[[Path], None]] = {
    "text_encoder/config.json": _write_text_encoder,
    "text_encoder_2/config.json": _write_projected_text_encoder,
    "unet/config.json": _write_unet,
    "vae/config.json": _write_vae,
    "open_clip_config.json": _write_open_clip,
    "config.json": _write_transformers,
}

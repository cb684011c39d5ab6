"""The judge (transformers' CLIPModel) and the classifier (open_clip's CLIP)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from open_clip.model import CLIP
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

from vwtransfer.tinyworld_build.contrastive import DEVIATION, MEAN, Towers
from vwtransfer.tinyworld_build.tokenizer import CONTEXT, save_tokenizer, tokenizer

PIXELS = 48
PATCH = 8


def text_config(width: int, layers: int, words: CLIPTokenizer | None = None) -> dict[str, Any]:
    """A CLIP text tower with the special tokens of a vocabulary, by default the shared one."""
    words = words or tokenizer()
    return {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": words.model_max_length,
        "hidden_act": "quick_gelu",
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def vision_config(width: int, pixels: int) -> dict[str, Any]:
    """A vision tower of four layers for square images."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": pixels,
        "patch_size": PATCH,
    }


def build_judge(seed: int) -> CLIPModel:
    """A CLIPModel with random weights."""
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config=text_config(96, 3),
        vision_config={**vision_config(112, PIXELS), "hidden_act": "quick_gelu"},
        projection_dim=96,
    )
    return CLIPModel(config)


def save_judge(model: CLIPModel, folder: Path) -> None:
    """Saves model and processor in float16, as `from_pretrained` reads them."""
    model.half().save_pretrained(folder)
    processor = CLIPProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": PIXELS},
            crop_size={"height": PIXELS, "width": PIXELS},
            image_mean=list(MEAN),
            image_std=list(DEVIATION),
        ),
        tokenizer=tokenizer(),
    )
    processor.save_pretrained(folder)
    save_tokenizer(folder)


def classifier_config(text: int, image: int, whole: tuple[str, ...]) -> dict[str, Any]:
    """open_clip's description of the classifier.

    Args:
        text: width of the text tower, and of the joint space.
        image: width of the image tower.
        whole: the words of its tokenizer.
    """
    return {
        "embed_dim": text,
        "vision_cfg": {
            "image_size": PIXELS,
            "layers": 4,
            "width": image,
            "head_width": image // 4,
            "patch_size": PATCH,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer(whole)),
            "width": text,
            "heads": 4,
            "layers": 3,
            # Any name: open_clip then reads the tokenizer of the checkpoint's own folder.
            "hf_tokenizer_name": "vwtransfer/tiny-classification",
        },
    }


def build_classifier(seed: int, config: Mapping[str, Any]) -> CLIP:
    """An open_clip CLIP with random weights."""
    torch.manual_seed(seed)
    return CLIP(**config)


def classifier_towers(model: CLIP) -> Towers:
    """The encoders of an open_clip CLIP."""

    def image(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        model.visual.output_tokens = True
        pooled_BE, patches_BPW = model.visual(pixels_BCHW)
        model.visual.output_tokens = False
        return pooled_BE, patches_BPW

    return Towers(image, model.encode_text, PATCH, PIXELS)


def save_classifier(
    model: CLIP, folder: Path, model_config: Mapping[str, Any], whole: tuple[str, ...]
) -> None:
    """Saves the classifier in float16, as open_clip reads it from `local-dir:`."""
    save_tokenizer(folder, whole)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    config = {
        "model_cfg": model_config,
        "preprocess_cfg": {
            "mean": MEAN,
            "std": DEVIATION,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")

"""The judge (transformers' CLIPModel) and the classifier (open_clip's CLIP)."""

import json
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


def build_judge(
    seed: int, text: int = 96, image: int = 112, pixels: int = PIXELS, joint: int = 96
) -> CLIPModel:
    """A CLIPModel with random weights.

    Args:
        seed: of the weights.
        text: width of the text tower.
        image: width of the image tower.
        pixels: side of the images.
        joint: width of the joint space.
    """
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config=text_config(text, 3),
        vision_config={
            "hidden_size": image,
            "intermediate_size": 4 * image,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": pixels,
            "patch_size": PATCH,
            "hidden_act": "quick_gelu",
        },
        projection_dim=joint,
    )
    return CLIPModel(config)


def judge_towers(model: CLIPModel) -> Towers:
    """The encoders of a CLIPModel."""

    def image(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        out = model.vision_model(pixel_values=pixels_BCHW)
        return model.visual_projection(out.pooler_output), out.last_hidden_state[:, 1:]

    def text(ids_BL: Tensor) -> Tensor:
        pooled: Tensor = model.text_projection(model.text_model(input_ids=ids_BL).pooler_output)
        return pooled

    vision = model.config.vision_config
    return Towers(image, text, vision.patch_size, vision.image_size)


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


def classifier_config(
    text: int = 64, image: int = 96, whole: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """open_clip's description of the classifier.

    Args:
        text: width of the text tower, and of the joint space.
        image: width of the image tower.
        whole: the words of its tokenizer; None: the tiny world's.
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


def build_classifier(seed: int, config: dict[str, Any] | None = None) -> CLIP:
    """An open_clip CLIP with random weights."""
    torch.manual_seed(seed)
    return CLIP(**(config or classifier_config()))


def classifier_towers(model: CLIP) -> Towers:
    """The encoders of an open_clip CLIP."""

    def image(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        model.visual.output_tokens = True
        pooled_BE, patches_BPW = model.visual(pixels_BCHW)
        model.visual.output_tokens = False
        return pooled_BE, patches_BPW

    return Towers(image, model.encode_text, PATCH, PIXELS)


def save_classifier(
    model: CLIP,
    folder: Path,
    model_config: dict[str, Any] | None = None,
    whole: tuple[str, ...] | None = None,
) -> None:
    """Saves the classifier in float16, as open_clip reads it from `local-dir:`."""
    save_tokenizer(folder, whole)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    config = {
        "model_cfg": model_config or classifier_config(),
        "preprocess_cfg": {
            "mean": MEAN,
            "std": DEVIATION,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")

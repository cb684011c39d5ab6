"""Small SigLIPs with random weights, saved as their checkpoints lie on the hub."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from small_encoders import CONTEXT, small_encoder
from vwtransfer.config import models as config
from vwtransfer.models.open_clip import OpenClip
from vwtransfer.models.siglip import Siglip

SIDE = 32
SMALL: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ROLES = ("bos", "eos", "pad")
# tokenizer of small_encoders, and whether it gives an attention mask
LAYOUTS = {"siglip": False, "siglip2": False, "masked": True}


def save_siglip(kind: str, folder: Path) -> Path:
    """Saves a SiglipModel with the tokenizer of SigLIP 1, of SigLIP 2, or that with a mask."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    tokenizer = small_encoder("siglip" if kind == "siglip" else "siglip2").tokenizer
    torch.manual_seed(0)
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "max_position_embeddings": CONTEXT,
    }
    vision: dict[str, Any] = {"hidden_size": 12, "image_size": SIDE, "patch_size": 8}
    special = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    sizes = SiglipConfig(
        text_config={**text, **SMALL, **special, "hidden_size": 16, "projection_size": 12},
        vision_config={**vision, **SMALL},
    )
    model = SiglipModel(sizes)
    _grow(model)
    model.save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}, resample=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if LAYOUTS[kind]:
        path = folder / "tokenizer_config.json"
        names = {"model_input_names": ["input_ids", "attention_mask"]}
        path.write_text(json.dumps(json.loads(path.read_text()) | names))
    return folder


def save_open_clip(kind: str, folder: Path) -> Path:
    """Saves a SigLIP in open_clip's layout, with the tokenizer of SigLIP 1 or 2."""
    import open_clip

    folder.mkdir(exist_ok=True)
    tokenizer = small_encoder(kind).tokenizer
    tokenizer.save_pretrained(folder)
    text = {
        "context_length": CONTEXT,
        "vocab_size": len(tokenizer),
        "hf_tokenizer_name": "timm/any",  # the folder's own is read
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 16,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    }
    vision = {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
    model_cfg: dict[str, Any] = {"embed_dim": 12, "init_logit_bias": -10, "custom_text": True}
    model_cfg = {**model_cfg, "vision_cfg": vision, "text_cfg": text}
    mean: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    stated = {"model_cfg": model_cfg, "preprocess_cfg": {**mean, "resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    _grow(model)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def classifier(folder: Path, dtype: str = "float32") -> Any:
    """The model of a folder."""
    stated: dict[str, Any] = {"name": "small", "task": "classification", "dtype": dtype}
    stated |= {"checkpoint": str(folder), "prompt_template": "a photo of {}", "target_share": 0.5}
    stated |= {"training": config.Training(learning_rate=1e-3, steps=1, batch_size=4)}
    cpu = torch.device("cpu")
    if (folder / "open_clip_config.json").is_file():
        return OpenClip(config.OpenClip(**stated), cpu)
    return Siglip(config.Siglip(**stated), cpu)


def _grow(model: Any) -> None:
    """Library defaults are so small that words and biases would hardly matter."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "token_embedding" in name or name.endswith("bias"):
                weight.normal_()
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)

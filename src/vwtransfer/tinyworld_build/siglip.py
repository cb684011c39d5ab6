"""The second classifier (transformers' SiglipModel), which learns by a sigmoid for each pair."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

from vwtransfer.files import write_text
from vwtransfer.tinyworld_build.clips import PIXELS, vision_config
from vwtransfer.tinyworld_build.contrastive import DEVIATION, MEAN, Contrast
from vwtransfer.tinyworld_build.siglip_tokenizer import CONTEXT, siglip_tokenizer, support

SCALE, BIAS = math.log(10), -10.0  # at the start, as published (section 3.2 of SigLIP's paper)


def build_siglip(seed: int) -> SiglipModel:
    """A SiglipModel with random weights."""
    torch.manual_seed(seed)
    words, text, image = siglip_tokenizer(), 64, 96
    config = SiglipConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": text,
            "intermediate_size": 4 * text,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": CONTEXT,
            "projection_size": image,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id,
        },
        vision_config=vision_config(image, PIXELS),
    )
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(SCALE)
        model.logit_bias.fill_(BIAS)
    return model


def sigmoid_contrast(model: SiglipModel) -> Contrast:
    """Minus the log likelihood of which captions are which scenes', for each scene of a batch."""

    def contrast(cosine_BB: Tensor, same_BB: Tensor) -> Tensor:
        logits_BB = model.logit_scale.exp() * cosine_BB + model.logit_bias
        sign_BB = 2 * torch.eye(len(logits_BB)) - 1
        loss_BB = -F.logsigmoid(sign_BB * logits_BB).masked_fill(same_BB, 0.0)
        return loss_BB.sum() / len(loss_BB)

    return contrast


def save_siglip(model: SiglipModel, folder: Path) -> None:
    """Saves model and processor in float16, as `from_pretrained` reads them, and the support."""
    model.half().save_pretrained(folder)
    images = SiglipImageProcessor(
        size={"height": PIXELS, "width": PIXELS},
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
    )
    SiglipProcessor(images, siglip_tokenizer()).save_pretrained(folder)
    write_text(folder / "support.txt", "\n".join(support()) + "\n")

"""open_clip's CLIPs and SigLIPs.

Letters: N words, D embedding width, M images, E joint width, L tokens.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.checkpoints import freeze, hub_folder
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.image_text import IMAGES_AT_ONCE, ImageTextModel, Sigmoid
from vwtransfer.models.open_clip_text import (
    load_text_tower,
    reading,
    share_text,
    text_blocks,
    text_forward,
    token_embedding,
)
from vwtransfer.models.vocabulary import Vocabulary, of_open_clip

WEIGHTS = (  # the preferred one first
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
FILES = (("open_clip_config.json",), WEIGHTS[::-1])  # the one that every repository has first


class OpenClip(ImageTextModel):
    """A classifier that words are learned in."""

    settings: config.OpenClip
    files = FILES

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoint lies; open_clip's own hub schema knows no revision."""
        with self.checkpoint.loading():
            return hub_folder(self.checkpoint, WEIGHTS)

    @cached_property
    def _stated(self) -> str:
        return (self.folder / "open_clip_config.json").read_text(encoding="utf-8")

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        import open_clip

        with self.checkpoint.loading():
            causal, read_position = reading(json.loads(self._stated)["model_cfg"]["text_cfg"])
            tokenizer = open_clip.get_tokenizer(f"local-dir:{self.folder}")
            return of_open_clip(
                tokenizer, tokenizer.context_length, causal=causal, read_position=read_position
            )

    @cached_property
    def _model_and_transform(self) -> tuple[Any, Any]:
        import open_clip

        with self.checkpoint.loading():
            model, transform = open_clip.create_model_from_pretrained(
                f"local-dir:{self.folder}", precision="fp32", device="cpu", weights_only=True
            )
        model.to(self.dtype)
        share_text(self.text_tower, model)
        freeze(model, self.device)
        return model, transform

    @cached_property
    def text_tower(self) -> Any:
        """The text tower, frozen; nothing else is loaded for it."""
        with self.checkpoint.loading():
            weights = next(path for name in WEIGHTS if (path := self.folder / name).is_file())
            tower = load_text_tower(json.loads(self._stated)["model_cfg"], weights)
        tower.to(self.dtype)
        freeze(tower, self.device)
        return tower

    @property
    def model(self) -> Any:
        """The open_clip model, frozen."""
        return self._model_and_transform[0]

    @property
    def transform(self) -> Any:
        """What open_clip makes a tensor of an image with."""
        return self._model_and_transform[1]

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The text tower, read at the end of the text, or at the last place."""
        tower = self.text_tower
        with self.checkpoint.loading():
            forward = text_forward(tower, self.settings.compiled)
        return self.text_space(token_embedding(tower), forward, text_blocks(tower))

    @cached_property
    def sigmoid(self) -> Sigmoid | None:
        """Of its SigLIPs: they have a bias."""
        scale, bias = self.model.logit_scale, self.model.logit_bias
        return None if bias is None else Sigmoid(scale.float().exp(), bias.float())

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        """The image tower, batch by batch."""
        settings = (self._stated, self.transform)
        return ImageEncoder(
            encode_images, self.model, self.transform, IMAGES_AT_ONCE, settings, self.cache
        )


@torch.no_grad()
def encode_images(model: Any, transform: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Unit features "image_ME" of images, float32.

    Args:
        model: an open_clip CLIP.
        transform: its own, that makes a tensor of an image.
        images: M images of any sizes.
    """
    weight = token_embedding(model).weight
    pixels = torch.stack([transform(image) for image in images]).to(weight.device, weight.dtype)
    return {"image_ME": model.encode_image(pixels, normalize=True).float()}

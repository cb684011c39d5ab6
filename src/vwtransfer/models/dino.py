"""DINO and DINOv2: how similar two images are, told by a model that never saw a text.

Shapes: M images, E width of the features.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.errors import UserError
from vwtransfer.models.checkpoints import weights
from vwtransfer.models.frozen import FrozenCheckpoint

CLASSES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vit": ("ViTModel", {"add_pooling_layer": False}),  # whose pooling DINO never trained
    "dinov2": ("Dinov2Model", {}),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {}),
}
"""`model_type` of a checkpoint -> its class in transformers, and how it is made."""


class Dino(FrozenCheckpoint):
    """Embeds images by the last state of the class token, as DreamBooth's DINO metric does.

    Args:
        settings: see `config.models.Dino`; the checkpoint is a ViT of transformers (DINO), a
            Dinov2Model or a Dinov2WithRegistersModel.
        device: where it runs.
    """

    settings: config.Dino
    name = "dino"
    files = (
        ("config.json",),
        weights("model") + weights("pytorch_model"),
        ("preprocessor_config.json",),
    )

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        return self.checkpoint.read(AutoImageProcessor)

    @cached_property
    def model(self) -> Any:
        """The vision transformer, frozen.

        Raises:
            UserError: the checkpoint is missing, damaged, or of another kind.
        """
        import transformers

        kind = self.checkpoint.read(transformers.AutoConfig).model_type
        if kind not in CLASSES:
            raise UserError(
                f"model.dino.checkpoint={self.checkpoint.source}: is a {kind}; a DINO is one of "
                f"{', '.join(CLASSES)}."
            )
        name, options = CLASSES[kind]
        return self.pretrained(getattr(transformers, name), self.settings.attention, **options)

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """The class token's last state of M images, [M, E], float32, each of length 1."""
        pixels = self._processor(list(images), return_tensors="pt")["pixel_values"]
        states_MLE = self.model(pixel_values=pixels.to(self.device, self.dtype)).last_hidden_state
        return F.normalize(states_MLE[:, 0].float(), dim=-1)

"""SigLIP and SigLIP 2 of fixed resolution (transformers' SiglipModel).

The text tower is not causal, is padded to its full length and read at the last place, padding or
not, so that no prompt is ever cut. Padding is masked where the checkpoint's tokenizer gives a mask
(the published ones give none).

Letters: N words, D embedding width, M images, E joint width, L tokens.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.errors import UserError
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.checkpoints import FILES
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.image_text import IMAGES_AT_ONCE, ImageTextModel, Sigmoid
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.models.vocabulary import Vocabulary, of_transformers

TOKENS = ("tokenizer.json", "spiece.model", "tokenizer.model")


class Siglip(ImageTextModel):
    """A classifier that words are learned in."""

    settings: config.Siglip
    files = (*FILES, ("tokenizer_config.json",), TOKENS)

    @cached_property
    def _stated(self) -> dict[str, Any]:
        """The checkpoint's config.json.

        Raises:
            UserError: it is of another class.
        """
        from transformers import SiglipConfig

        source = self.checkpoint.source
        with self.checkpoint.loading():
            stated, _ = SiglipConfig.get_config_dict(source, revision=self.checkpoint.revision)
        kind = stated.get("model_type")
        if kind == "siglip2":
            raise UserError(
                f"{self.checkpoint.key}.checkpoint={source}: a NaFlex checkpoint (Siglip2Model) is "
                "not supported. Take one of fixed resolution: google/siglip2-base-patch16-224."
            )
        if kind != "siglip":
            raise UserError(
                f"{self.checkpoint.key}.checkpoint={source}: its config.json is of a model of type "
                f"{kind!r}, not 'siglip' (SiglipModel)."
            )
        return dict(stated)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from transformers import AutoTokenizer, SiglipTextConfig

        default = SiglipTextConfig.max_position_embeddings
        length = self._stated.get("text_config", {}).get("max_position_embeddings", default)
        try:
            tokenizer = self.checkpoint.read(AutoTokenizer)
        except ImportError as error:
            raise UserError(
                f"{self.checkpoint.key}.checkpoint={self.checkpoint.source}: its tokenizer (SigLIP "
                "1's) is read by a library that is not installed. pip install sentencepiece"
            ) from error
        return of_transformers(tokenizer, length, causal=False, read_position="last")

    @cached_property
    def processor(self) -> Any:
        """The SiglipImageProcessor."""
        from transformers import SiglipImageProcessor

        return self.checkpoint.read(SiglipImageProcessor)

    @cached_property
    def model(self) -> Any:
        """The SiglipModel, frozen."""
        from transformers import SiglipModel

        tower = self.text_tower  # refuses another class before its weights are read
        model = self.pretrained(SiglipModel, self.settings.attention)
        model.text_model = tower
        return model

    @cached_property
    def text_tower(self) -> Any:
        """The text model, frozen; nothing else is loaded for it."""
        from vwtransfer.models.text_towers import SiglipTextTower

        _ = self._stated  # refuses another class
        tower = self.pretrained(SiglipTextTower, self.settings.attention)
        if self.settings.compiled:
            tower.encoder.compile()
        return tower

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The text tower, read at the last place."""
        tower = self.text_tower

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            pooled_NE = tower(input_ids=ids_NL, attention_mask=mask_NL).pooler_output
            return Encoded(None, F.normalize(pooled_NE, dim=-1))

        return self.text_space(tower.embeddings.token_embedding, forward, tower.encoder.layers)

    @cached_property
    def sigmoid(self) -> Sigmoid:
        """What it was trained with."""
        scale, bias = self.model.logit_scale, self.model.logit_bias
        return Sigmoid(scale.float().exp(), bias.float())

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        """The image tower, batch by batch."""
        model, processor = self.model, self.processor
        stated = (model.config, processor, self.settings.attention)
        return ImageEncoder(encode_images, model, processor, IMAGES_AT_ONCE, stated, self.cache)


@torch.no_grad()
def encode_images(model: Any, processor: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """Unit features "image_ME" of images, float32.

    Args:
        model: a SiglipModel.
        processor: its SiglipImageProcessor.
        images: M images of any sizes.
    """
    pixels = processor(list(images), return_tensors="pt").pixel_values
    pooled_ME = model.vision_model(pixel_values=pixels.to(model.device)).pooler_output
    return {"image_ME": F.normalize(pooled_ME.float(), dim=-1)}

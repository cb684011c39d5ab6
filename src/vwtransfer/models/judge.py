"""The judge of generations: another CLIP, which no word was trained for.

Shapes: M images, E joint image-text width, C concepts.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vwtransfer.config import models as config
from vwtransfer.models.checkpoints import CLIPS_TOKENS, FILES
from vwtransfer.models.frozen import FrozenCheckpoint


class Judge(FrozenCheckpoint):
    """Ranks the names of a dataset's concepts for an image: generation accuracy (section 4.1).

    Args:
        settings: see `config.models.Judge`; the checkpoint is of a transformers CLIPModel.
        device: where it runs.
    """

    settings: config.Judge
    name = "judge"
    files = (*FILES, *CLIPS_TOKENS)

    @cached_property
    def _processor(self) -> Any:
        from transformers import CLIPProcessor

        return self.checkpoint.read(CLIPProcessor)

    @cached_property
    def model(self) -> Any:
        """The CLIPModel, frozen."""
        from transformers import CLIPModel

        return self.pretrained(CLIPModel, self.settings.attention)

    @torch.no_grad()
    def best(self, images: Sequence[Image.Image], concepts: Mapping[str, str]) -> list[str]:
        """The concept whose name fits each image best.

        Args:
            images: M images.
            concepts: concept -> its name in prompts.
        """
        names = [self.settings.prompt_template.format(name) for name in concepts.values()]
        scores_MC = self.embed_images(images) @ self.embed_texts(names).T
        order = list(concepts)
        return [order[c] for c in scores_MC.argmax(dim=1).tolist()]

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """What the image tower makes of M images, [M, E], float32, each of length 1."""
        pixels = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.device, self.dtype)
        image_ME = self.model.get_image_features(pixel_values=pixels).pooler_output
        return F.normalize(image_ME.float(), dim=-1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """What the text tower makes of C texts, [C, E], float32, each of length 1.

        Of a text that is longer than the tower reads, the beginning counts.
        """
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self._processor.tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        text_CE = self.model.get_text_features(**tokens.to(self.device)).pooler_output
        return F.normalize(text_CE.float(), dim=-1)

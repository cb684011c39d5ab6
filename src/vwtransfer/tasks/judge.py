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

from vwtransfer.checkpoints import freeze, loading, refuse_incomplete


class Judge:
    """Ranks the names of a dataset's concepts for an image (SPEC, generation accuracy).

    Args:
        checkpoint: folder or hub id of a transformers CLIPModel.
        dtype: precision of the model, such as "float32".
        device: where it runs.
        template: the prompt, `{}` where a concept's name stands.
    """

    def __init__(
        self,
        checkpoint: str,
        dtype: str,
        device: torch.device,
        template: str,
        revision: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.revision = revision
        self.dtype = dtype
        self.device = device
        self.template = template

    @cached_property
    def _processor(self) -> Any:
        from transformers import CLIPProcessor

        with loading("model.judge", self.checkpoint):
            return CLIPProcessor.from_pretrained(self.checkpoint, revision=self.revision)

    @cached_property
    def _model(self) -> Any:
        from transformers import CLIPModel

        with loading("model.judge", self.checkpoint):
            model, info = CLIPModel.from_pretrained(
                self.checkpoint,
                revision=self.revision,
                dtype=getattr(torch, self.dtype),
                output_loading_info=True,
            )
            refuse_incomplete(info)
        freeze(model, self.device)
        return model

    @torch.no_grad()
    def best(self, images: Sequence[Image.Image], concepts: Mapping[str, str]) -> list[str]:
        """The concept whose name fits each image best.

        Args:
            images: M images.
            concepts: concept -> its name in prompts.
        """
        pixels = self._processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.device, getattr(torch, self.dtype))
        image_ME = self._model.get_image_features(pixel_values=pixels).pooler_output
        scores_MC = F.normalize(image_ME.float(), dim=-1) @ self._names(concepts).T
        order = list(concepts)
        return [order[c] for c in scores_MC.argmax(dim=1).tolist()]

    def _names(self, concepts: Mapping[str, str]) -> Tensor:
        prompts = [self.template.format(name) for name in concepts.values()]
        tokens = self._processor.tokenizer(prompts, padding=True, return_tensors="pt")
        text_CE = self._model.get_text_features(**tokens.to(self.device)).pooler_output
        return F.normalize(text_CE.float(), dim=-1)

"""The tiny world's image-text models as their libraries load them: judge, CLIP and SigLIP.

Letters of shapes: C names, E joint width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, CLIPModel, SiglipModel


@dataclass(frozen=True)
class ImageReader:
    """A model that compares images with prompts: both map to unit features."""

    encode_images: Callable[[Sequence[Image.Image]], Tensor]
    read: Callable[[Sequence[str]], Tensor]

    def best(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """The position of the prompt that fits each image best."""
        with torch.no_grad():
            text_CE = self.read(prompts)
            parts = [
                (self.encode_images(images[i : i + 128]) @ text_CE.T).argmax(-1)
                for i in range(0, len(images), 128)
            ]
        return torch.cat(parts)


def judge_eye(folder: Path) -> ImageReader:
    """The judge of a weights folder."""
    return _of_transformers(CLIPModel, folder, padding=True)


def siglip_eye(folder: Path) -> ImageReader:
    """The SigLIP of a weights folder; it ranks by cosines, as its sigmoid rises with them."""
    return _of_transformers(SiglipModel, folder, padding="max_length")


def _of_transformers(
    kind: type[CLIPModel] | type[SiglipModel], folder: Path, padding: bool | str
) -> ImageReader:
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)

    def encode_images(images: Sequence[Image.Image]) -> Tensor:
        pixels = processor.image_processor(list(images), return_tensors="pt").pixel_values
        return F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    def read(prompts: Sequence[str]) -> Tensor:
        ids = processor.tokenizer(list(prompts), padding=padding, return_tensors="pt")
        return F.normalize(model.get_text_features(**ids).pooler_output, dim=-1)

    return ImageReader(encode_images, read)


def classifier_eye(folder: Path) -> ImageReader:
    """The classifier of a weights folder."""
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model = model.float().eval()
    words = open_clip.get_tokenizer(f"local-dir:{folder}")

    def encode_images(images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([transform(image) for image in images])
        features: Tensor = model.encode_image(pixels, normalize=True)
        return features

    def read(prompts: Sequence[str]) -> Tensor:
        features: Tensor = model.encode_text(words(list(prompts)), normalize=True)
        return features

    return ImageReader(encode_images, read)

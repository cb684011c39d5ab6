"""What OWL-v2 sees in images before any prompt: regions, each with a box and a class embedding.

Shapes: M images, R regions, D width of the vision tower, E width of the class embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert

from vwtransfer.models.checkpoints import weights

FILES = (
    ("config.json",),
    weights("model") + weights("pytorch_model"),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer_config.json",),
    ("vocab.json", "tokenizer.json"),
    ("merges.txt", "tokenizer.json"),
)


@dataclass(frozen=True)
class Regions:
    """What OWL-v2 sees in M images, before any prompt.

    Attributes:
        class_MRE: unit class embedding of each region.
        shift_MR, scale_MR: logit = (cosine + shift) * scale.
        box_MR4: predicted boxes (x0, y0, x1, y1) in pixels of the image.
        objectness_MR: logit that a region holds an object.
    """

    class_MRE: Tensor
    shift_MR: Tensor
    scale_MR: Tensor
    box_MR4: Tensor
    objectness_MR: Tensor


@torch.no_grad()
def see(model: Any, processor: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """The `Regions` of images, by the model's own heads; tensors by the names of its fields.

    Args:
        model: an Owlv2ForObjectDetection.
        processor: its Owlv2Processor.
        images: M images of any sizes.
    """
    squares = [_on_grey(image) for image in images]
    pixels = processor.image_processor(squares, return_tensors="pt")["pixel_values"]
    feature_map = model.image_embedder(pixels.to(model.device, model.dtype))[0]
    region_MRD = feature_map.flatten(1, 2)
    head = model.class_head
    class_MRE = head.dense0(region_MRD)
    box_MR4 = box_convert(model.box_predictor(region_MRD, feature_map), "cxcywh", "xyxy")
    # boxes are fractions of the square's side
    side_M = torch.tensor([max(image.size) for image in images], device=model.device)
    return {
        "class_MRE": class_MRE / (class_MRE.norm(dim=-1, keepdim=True) + 1e-6),
        "shift_MR": head.logit_shift(region_MRD)[..., 0],
        "scale_MR": head.elu(head.logit_scale(region_MRD))[..., 0] + 1,
        "box_MR4": box_MR4.float() * side_M[:, None, None],
        "objectness_MR": model.objectness_predictor(region_MRD),
    }


def _on_grey(image: Image.Image) -> Image.Image:
    """The image at the top left of a grey square, as the model was trained with.

    The processor of transformers 4 did so; that of 5 pads with black.
    """
    side = max(image.size)
    square = Image.new("RGB", (side, side), (128, 128, 128))
    square.paste(image)
    return square

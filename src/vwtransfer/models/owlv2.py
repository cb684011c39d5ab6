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
    pixels = processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
    feature_map = model.image_embedder(pixels.to(model.device, model.dtype))[0]
    region_MRD = feature_map.flatten(1, 2)
    head = model.class_head
    class_MRE = head.dense0(region_MRD)
    box_MR4 = box_convert(model.box_predictor(region_MRD, feature_map), "cxcywh", "xyxy")
    # The processor pads an image to a square: boxes are fractions of the longer side.
    side_M = torch.tensor([max(image.size) for image in images], device=model.device)
    return {
        "class_MRE": class_MRE / (class_MRE.norm(dim=-1, keepdim=True) + 1e-6),
        "shift_MR": head.logit_shift(region_MRD)[..., 0],
        "scale_MR": head.elu(head.logit_scale(region_MRD))[..., 0] + 1,
        "box_MR4": box_MR4.float() * side_M[:, None, None],
        "objectness_MR": model.objectness_predictor(region_MRD),
    }

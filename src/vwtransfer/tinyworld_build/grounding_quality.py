"""How well the tiny Grounding DINO finds what it is asked for, one name in each prompt.

As a study asks: the probability of the best token of a query is its score.

Letters of shapes: M images, C names, Q queries.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert
from transformers import GroundingDinoProcessor, MMGroundingDinoForObjectDetection

from vwtransfer.datasets.rendered import Rendered
from vwtransfer.models.grounding_fusion import fused, project_images, project_text
from vwtransfer.tinyworld.world import FRAME
from vwtransfer.tinyworld_build.quality import Measure, annotated, precision

BEST = 100  # boxes of an image that count
AT_ONCE = 16  # images


def grounding_quality(folder: Path, datasets: Sequence[Rendered]) -> dict[str, Measure]:
    """Average precision on held-out images with the ten names of each dataset."""
    model = MMGroundingDinoForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
    processor = GroundingDinoProcessor.from_pretrained(folder)
    quality: dict[str, Measure] = {}
    for dataset in datasets:
        images, truths = annotated(dataset)
        found = list(detections(model, processor, images, list(dataset.concepts.values())))
        quality |= precision(dataset.name, found, truths)
    return quality


@torch.no_grad()
def detections(
    model: Any, processor: Any, images: Sequence[Image.Image], names: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """The best boxes of each image over all names, each asked for alone."""
    given = processor.tokenizer([f"{name}." for name in names], padding=True, return_tensors="pt")
    states_CLD = project_text(model.model, given.input_ids)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        pixels = processor.image_processor(part, return_tensors="pt")
        maps = project_images(model, pixels.pixel_values, pixels.pixel_mask)
        M, C = len(part), len(names)
        own = [level.repeat_interleave(C, dim=0) for level in maps]
        masks = [torch.ones_like(level[:, 0], dtype=torch.bool) for level in own]
        out = fused(model, own, masks, states_CLD.repeat(M, 1, 1), given.input_ids.repeat(M, 1))
        score_MCQ = out.logits.sigmoid().amax(-1).unflatten(0, (M, C))
        boxes_MCQ4 = box_convert(out.pred_boxes, "cxcywh", "xyxy").unflatten(0, (M, C)) * FRAME
        for scores_CQ, boxes_CQ4 in zip(score_MCQ, boxes_MCQ4, strict=True):
            best = scores_CQ.flatten().topk(min(BEST, scores_CQ.numel()))
            yield {
                "boxes": boxes_CQ4.flatten(0, 1)[best.indices],
                "scores": best.values,
                "labels": best.indices // scores_CQ.shape[1],
            }

"""Detection: does a model find the concept that a word stands for?

Letters: N words, M images, T boxes of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import nms

from vwtransfer.datasets import BOXES, HELD_OUT, Dataset, Example, held_out_examples
from vwtransfer.datasets.draw_boxes import draw_boxes
from vwtransfer.datasets.images import OnDemand
from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.tasks import Applied, Detected, Measurement
from vwtransfer.tasks.average_precision import average_precision

SHOWN = 0.1  # least score of a box that is shown beside the best one: the library's own
SAME_THING = 0.5  # overlap of boxes that show one thing


class Detector(Protocol):
    """A model that detects."""

    def encode_images(self, examples: Sequence[Example]) -> Sequence[Any]:
        """What it makes of the examples' images before any prompt, in parts."""
        ...

    def encode_image(self, image: Image.Image) -> Any:
        """One such part, of one image."""
        ...

    def detect(self, prompts: Prompts, parts: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """The best T boxes [N, M, T, 4] for each prompt in each image, and their scores."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """What metrics are measured on: annotated images, and what the model makes of them."""

    examples: list[Example]
    parts: Sequence[Any]


class Detection:
    """Mean average precision (section 4.1 of the paper: at IoU 0.5)."""

    name = "detection"
    metrics: tuple[str, ...] = (
        "mean_average_precision",
        "mean_average_precision_50_95",
        "mean_average_precision_target_images",
    )
    measured_with: tuple[str, ...] = (BOXES, HELD_OUT)

    def words_at_once(self, model: Detector) -> int:
        """Words of one evaluation by COCO's rules."""
        return 16

    def chance(self, concepts: int) -> dict[str, float]:
        """Not known without measuring."""
        return {}

    @torch.no_grad()
    def held_out(self, model: Detector, dataset: Dataset) -> HeldOut:
        """All held-out images."""
        examples = held_out_examples(dataset)
        return HeldOut(examples, model.encode_images(examples))

    @torch.no_grad()
    def measure(
        self, model: Detector, prompts: Prompts, held_out: HeldOut, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Average precision of the boxes found for each word, on all concepts' held-out images."""
        examples = held_out.examples
        boxes_NMT4, scores_NMT = model.detect(prompts, held_out.parts)
        values_N = average_precision(boxes_NMT4, scores_NMT, examples, concepts)
        measurements = []
        for n, (values, concept) in enumerate(zip(values_N, concepts, strict=True)):
            m = next((m for m, example in enumerate(examples) if example.concept == concept), 0)
            best = _worth_showing(boxes_NMT4[n, m], scores_NMT[n, m])
            shown = Detected(examples[m], boxes_NMT4[n, m, best], scores_NMT[n, m, best])
            measurements.append(Measurement(values, num_images=len(examples), detected=[shown]))
        return measurements

    @torch.no_grad()
    def apply(
        self, model: Detector, prompt: Prompts, images: Mapping[str, Image.Image], label: str
    ) -> Applied:
        """The best box of each image, and every other one that is as good as a detection."""
        if not images:
            raise UserError("images: name those to look at with images=PATH.")
        rows, pictures = [], {}

        def drawn(name: str, found: list[tuple[list[float], float]]) -> Image.Image:
            return draw_boxes(images[name], found, label)

        for name, image in images.items():
            boxes, scores = model.detect(prompt, [model.encode_image(image)])
            best = _worth_showing(boxes[0, 0], scores[0, 0])
            found = [(boxes[0, 0, i].tolist(), float(scores[0, 0, i])) for i in best]
            pictures[name] = partial(drawn, name, found)
            rows += [(name, f"{score:.3f}", ", ".join(f"{v:.0f}" for v in b)) for b, score in found]
        return Applied(("image", "score", "box (x0, y0, x1, y1)"), rows, OnDemand(pictures))


def _worth_showing(box_T4: Tensor, score_T: Tensor) -> Tensor:
    """Which boxes a person is shown: the best, and every other that is as good as a detection."""
    kept = nms(box_T4.float(), score_T.float(), SAME_THING)
    good = score_T[kept] >= SHOWN
    good[:1] = True
    return kept[good]

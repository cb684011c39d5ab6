"""Detection: an OWL-v2 finds what a prompt names, and draws a box around it.

Shapes: N words, K vectors per word, D embedding width, B batch, M images, R regions,
E width of the class embeddings, L tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou, nms

from vwtransfer.config import Training
from vwtransfer.datasets import BOXES, HELD_OUT, Dataset, Example
from vwtransfer.datasets.draw_boxes import draw_boxes
from vwtransfer.errors import UserError
from vwtransfer.models.cache import Cache, Encoder
from vwtransfer.models.checkpoints import Checkpoint, pretrained
from vwtransfer.models.owlv2 import FILES, Regions, see
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.tasks import (
    Applied,
    Detected,
    Measurement,
    batch_stream,
    held_out_examples,
    shuffled_epochs,
    training_examples,
)
from vwtransfer.tasks.average_precision import Truth, average_precision
from vwtransfer.words.cells import Cell

SHOWN = 0.1  # least score of a box that is shown beside the best one: the library's own
SAME_THING = 0.5  # overlap of boxes that show one thing


@dataclass(frozen=True)
class TrainingRegions:
    """Sums over the positive and negative regions of each training image.

    The loss is linear in the regions' unit embeddings, so that these sums are all it needs.

    Attributes:
        positive_ME, negative_ME: sums of class embeddings.
        positives_M, negatives_M: how many regions were summed.
        concepts: the concept each image was chosen for.
    """

    positive_ME: Tensor
    negative_ME: Tensor
    positives_M: Tensor
    negatives_M: Tensor
    concepts: list[str]


@dataclass(frozen=True)
class HeldOut:
    """What metrics are measured on: images, what is seen in them, and the true boxes."""

    dataset: Dataset
    examples: list[Example]
    parts: list[Regions]
    truths: list[Truth]


class Detection:
    """A word that makes OWL-v2 find a concept.

    Args:
        checkpoint: folder or hub id of an Owlv2ForObjectDetection.
        revision: of the hub's repository; None for its main branch.
        dtype: precision of the frozen model, such as "float32".
        device: where it runs.
        attention: "sdpa" or "eager"; None for the library's choice.
        compiled: whether torch compiles the text tower's blocks, at their first use.
        template: the prompt, `{}` where the word stands.
        training: learning rate, steps and batch size.
        positive_iou: a region is the target's where its box overlaps an annotated one this much;
            the best one always is.
        negatives: None for all other regions, or how many of them by objectness.
        max_boxes: boxes of an image that count for the average precision.
        cache: keeps the regions of images; None: every process computes them.
    """

    name = "detection"
    metrics = (
        "mean_average_precision",
        "mean_average_precision_50_95",
        "mean_average_precision_target_images",
    )
    measured_at_once = 16
    trains_with = (BOXES,)
    measured_with = (BOXES, HELD_OUT)

    def __init__(
        self,
        checkpoint: str,
        dtype: str,
        device: torch.device,
        template: str,
        training: Training,
        positive_iou: float,
        negatives: int | None,
        max_boxes: int,
        revision: str | None = None,
        attention: str | None = None,
        compiled: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self.checkpoint = Checkpoint("model.detection", checkpoint, revision, FILES)
        self.dtype = dtype
        self.device = device
        self.attention = attention
        self.compiled = compiled
        self.template = template
        self.training = training
        self.positive_iou = positive_iou
        self.negatives = negatives
        self.max_boxes = max_boxes
        self.cache = cache
        self._latest: HeldOut | None = None

    @cached_property
    def processor(self) -> Any:
        """The Owlv2Processor."""
        from transformers import Owlv2Processor

        with self.checkpoint.loading():
            return Owlv2Processor.from_pretrained(
                self.checkpoint.source, revision=self.checkpoint.revision
            )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        from transformers import CLIPTokenizer  # the processor's own; without it, loaded sooner

        with self.checkpoint.loading():
            tokenizer = CLIPTokenizer.from_pretrained(
                self.checkpoint.source, revision=self.checkpoint.revision
            )
        return of_transformers(tokenizer, tokenizer.model_max_length)

    @cached_property
    def model(self) -> Any:
        """The Owlv2ForObjectDetection, frozen."""
        from transformers import Owlv2ForObjectDetection

        options = {"dtype": getattr(torch, self.dtype), "attn_implementation": self.attention}
        with self.checkpoint.loading():
            model = pretrained(Owlv2ForObjectDetection, self.checkpoint, self.device, **options)
        if self.compiled:
            model.owlv2.text_model.encoder.compile()
        return model

    @cached_property
    def text(self) -> TextEncoder:
        owlv2 = self.model.owlv2

        def forward(ids_NL: Tensor) -> Tensor:
            pooled_ND = owlv2.text_model(input_ids=ids_NL).pooler_output
            return F.normalize(owlv2.text_projection(pooled_ND), dim=-1)

        embedding = owlv2.text_model.embeddings.token_embedding
        blocks = owlv2.text_model.encoder.layers
        return TextEncoder(self.vocabulary, embedding, forward, pooled=True, blocks=blocks)

    def chance(self, concepts: int) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def features(self, dataset: Dataset) -> TrainingRegions:
        """Sorts the regions of each training image into the target's and the others."""
        examples = training_examples(dataset)
        rest = iter(examples)
        sums = [
            self._sums(regions, m, next(rest))
            for regions in self._regions(examples)
            for m in range(len(regions.box_MR4))
        ]
        positive, negative, positives, negatives = map(torch.stack, zip(*sums, strict=True))
        concepts = [example.concept for example in examples]
        return TrainingRegions(positive, negative, positives, negatives, concepts)

    def _sums(self, regions: Regions, m: int, example: Example) -> tuple[Tensor, ...]:
        """Of the positive and the negative regions of an image, and how many these are."""
        positive_R = self._positive(regions.box_MR4[m], example)
        other_R = ~positive_R & ~self._on_ignored(regions.box_MR4[m], example)
        negative_R = self._negative(other_R, regions.objectness_MR[m])
        class_RE = regions.class_MRE[m].float()
        return (
            class_RE[positive_R].sum(0),
            class_RE[negative_R].sum(0),
            positive_R.sum(),
            negative_R.sum(),
        )

    def _positive(self, box_R4: Tensor, example: Example) -> Tensor:
        own = [
            b for b, c in zip(example.boxes, example.labels, strict=True) if c == example.concept
        ]
        if not own:  # an image of something else, that no word is trained on
            return torch.zeros(len(box_R4), dtype=torch.bool, device=box_R4.device)
        overlap_RT = box_iou(box_R4.float(), torch.tensor(own, device=box_R4.device))
        positive_R = overlap_RT.amax(dim=1) >= self.positive_iou
        positive_R[overlap_RT.argmax(dim=0)] = True
        return positive_R

    def _on_ignored(self, box_R4: Tensor, example: Example) -> Tensor:
        """Regions on crowds and difficult objects of the concept, which are no others'."""
        labelled = zip(example.ignored, example.ignored_labels, strict=True)
        own = [box for box, concept in labelled if concept == example.concept]
        if not own:
            return torch.zeros(len(box_R4), dtype=torch.bool, device=box_R4.device)
        overlap_RT = box_iou(box_R4.float(), torch.tensor(own, device=box_R4.device))
        return overlap_RT.amax(dim=1) >= self.positive_iou

    def _negative(self, other_R: Tensor, objectness_R: Tensor) -> Tensor:
        if self.negatives is None:
            return other_R
        score_R = objectness_R.float().masked_fill(~other_R, -torch.inf)
        top = score_R.topk(min(self.negatives, int(other_R.sum()))).indices
        return torch.zeros_like(other_R).index_fill_(0, top, True)

    def batches(self, features: TrainingRegions, cell: Cell) -> Tensor:
        """Images of the concept in shuffled epochs."""
        own = [i for i, concept in enumerate(features.concepts) if concept == cell.concept]
        steps, batch = self.training.steps, self.training.batch_size
        return shuffled_epochs(own, steps * batch, batch_stream(cell)).view(steps, batch)

    def loss(
        self,
        vectors_NKD: Tensor,
        features: TrainingRegions,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """W cos(region(I, b), text(v)), w = -1 for the target's regions, +1 for others (table 1).

        Mean over the batch's positives plus mean over its negatives, with equal weight.
        """
        text_NE = self.text.encode_words(self.template, vectors_NKD).float()
        positive_NE = features.positive_ME[images_NB].sum(1)
        negative_NE = features.negative_ME[images_NB].sum(1)
        positives_N = features.positives_M[images_NB].sum(1)
        negatives_N = features.negatives_M[images_NB].sum(1).clamp(min=1)
        pull_N = (text_NE * positive_NE).sum(1) / positives_N
        push_N = (text_NE * negative_NE).sum(1) / negatives_N
        return push_N - pull_N

    @torch.no_grad()
    def measure(
        self, text_N: Tensor, dataset: Dataset, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Average precision of the boxes found for each word, on all concepts' held-out images."""
        held_out = self._held_out(dataset)
        examples = held_out.examples
        boxes_NMT4, scores_NMT = self._detect(text_N, held_out.parts)
        values_N = average_precision(boxes_NMT4, scores_NMT, held_out.truths, concepts)
        measurements = []
        for n, (values, concept) in enumerate(zip(values_N, concepts, strict=True)):
            m = next((m for m, example in enumerate(examples) if example.concept == concept), 0)
            best = _worth_showing(boxes_NMT4[n, m], scores_NMT[n, m])
            shown = Detected(examples[m], boxes_NMT4[n, m, best], scores_NMT[n, m, best])
            measurements.append(Measurement(values, examples=len(examples), detected=[shown]))
        return measurements

    def apply(self, text_1E: Tensor, images: Mapping[str, Image.Image], label: str) -> Applied:
        """The best box of each image, and every other one that is as good as a detection."""
        if not images:
            raise UserError("task=detection: name images to look at with images=PATH.")
        rows, pictures = [], {}
        for name, image in images.items():
            with torch.no_grad():
                regions = Regions(**see(self.model, self.processor, [image]))
                boxes, scores = self._detect(text_1E, [regions])
            best = _worth_showing(boxes[0, 0], scores[0, 0])
            found = [(boxes[0, 0, i].tolist(), float(scores[0, 0, i])) for i in best]
            pictures[name] = draw_boxes(image, found, label)
            rows += [(name, f"{score:.3f}", ", ".join(f"{v:.0f}" for v in b)) for b, score in found]
        return Applied(("image", "score", "box (x0, y0, x1, y1)"), rows, pictures)

    @torch.no_grad()
    def detect(self, examples: Sequence[Example], prompt: str) -> tuple[Tensor, Tensor]:
        """The best T boxes [M, T, 4] for a prompt in each image, and their scores [M, T]."""
        regions = self._regions(examples)
        boxes_1MT4, scores_1MT = self._detect(self.text.encode_text([prompt]), regions)
        return boxes_1MT4[0], scores_1MT[0]

    def _detect(self, text_NE: Tensor, parts: Iterable[Regions]) -> tuple[Tensor, Tensor]:
        """The best T boxes [N, M, T, 4] of each image and their scores [N, M, T]."""
        found = [self._best(text_NE, regions) for regions in parts]
        boxes, scores = zip(*found, strict=True)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def _best(self, text_NE: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        cosine_NMR = torch.einsum("ne,mre->nmr", text_NE.to(regions.class_MRE), regions.class_MRE)
        logit_NMR = (cosine_NMR + regions.shift_MR) * regions.scale_MR
        top = logit_NMR.float().topk(min(self.max_boxes, logit_NMR.shape[-1]), dim=-1)
        index_NMT4 = top.indices[..., None].expand(-1, -1, -1, 4)
        box_NMR4 = regions.box_MR4.expand(len(text_NE), -1, -1, -1)
        return box_NMR4.gather(2, index_NMT4), top.values.sigmoid()

    def _held_out(self, dataset: Dataset) -> HeldOut:
        if self._latest is None or self._latest.dataset is not dataset:
            examples = held_out_examples(dataset)
            truths = [Truth.of(example) for example in examples]
            self._latest = HeldOut(dataset, examples, list(self._regions(examples)), truths)
        return self._latest

    def _regions(self, examples: Sequence[Example]) -> Iterator[Regions]:
        """What the vision tower sees, in the batches that it sees at once."""
        return (Regions(**tensors) for tensors in self._eye.batches(examples))

    @cached_property
    def _eye(self) -> Encoder:
        settings = (self.model.config, self.processor.image_processor, self.attention)
        return Encoder(see, self.model, self.processor, 16, settings, self.cache)


def _worth_showing(box_T4: Tensor, score_T: Tensor) -> Tensor:
    """Which boxes a person is shown: the best, and every other that is as good as a detection."""
    kept = nms(box_T4.float(), score_T.float(), SAME_THING)
    good = score_T[kept] >= SHOWN
    good[:1] = True
    return kept[good]

"""OWL-v2: finds what a prompt names among regions that it sees before any prompt.

Letters: N words, K vectors per word, D embedding width, B batch, M images, R regions, T boxes of an
image, E width of the class embeddings, L tokens.
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from vwtransfer.config import models as config
from vwtransfer.datasets import BOXES, Box, Dataset, Example, training_examples
from vwtransfer.errors import UserError
from vwtransfer.models import owlv2_pixels
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.checkpoints import CLIPS_TOKENS, FILES, share
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.words.cells import Cell


@dataclass(frozen=True)
class Regions:
    """What OWL-v2 makes of M images, before any prompt.

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


class Owlv2(Frozen):
    """A detector that words are learned in."""

    settings: config.Owlv2
    files = (*FILES, ("tokenizer_config.json",), *CLIPS_TOKENS)
    trains_with: tuple[str, ...] = (BOXES,)

    @cached_property
    def processor(self) -> Any:
        """The Owlv2Processor."""
        from transformers import Owlv2Processor

        return self.checkpoint.read(Owlv2Processor)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from transformers import CLIPTokenizer  # the processor's own; without it, loaded sooner

        tokenizer = self.checkpoint.read(CLIPTokenizer)
        return of_transformers(tokenizer, tokenizer.model_max_length)

    @cached_property
    def model(self) -> Any:
        """The Owlv2ForObjectDetection, frozen."""
        from transformers import Owlv2ForObjectDetection

        model = self.pretrained(Owlv2ForObjectDetection, self.settings.attention)
        share(self.text_tower, model.owlv2)
        return model

    @cached_property
    def text_tower(self) -> Any:
        """Its text model and projection, frozen; nothing else is loaded for them."""
        from transformers import AutoConfig

        from vwtransfer.models.text_towers import Owlv2TextTower

        stated = self.checkpoint.read(AutoConfig)
        if stated.model_type != "owlv2":  # CLIP's text model has the same names
            raise UserError(
                f"{self.checkpoint.key}.checkpoint={self.checkpoint.source} does not load: its "
                f"config.json is of a model of type {stated.model_type!r}, not 'owlv2'."
            )
        tower = self.pretrained(Owlv2TextTower, self.settings.attention, config=stated)
        if self.settings.compiled:
            tower.text_model.encoder.compile()
        return tower

    @cached_property
    def text(self) -> EmbeddingSpace:
        """The text tower, read at the end of the text."""
        tower = self.text_tower

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            pooled_ND = tower.text_model(input_ids=ids_NL).pooler_output
            return Encoded(None, F.normalize(tower.text_projection(pooled_ND), dim=-1))

        embedding = tower.text_model.embeddings.token_embedding
        return self.text_space(embedding, forward, tower.text_model.encoder.layers)

    @torch.no_grad()
    def features(self, dataset: Dataset) -> TrainingRegions:
        """Sorts the regions of each training image into the target's and the others."""
        examples = training_examples(dataset)
        rest = iter(examples)
        sums = [
            self._sums(regions, m, next(rest))
            for regions in self.encode_images(examples)
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
        overlap_RT = _overlap(box_R4, example.boxes, example.labels, example.concept)
        positive_R = (overlap_RT >= self.settings.positive_iou).any(dim=1)
        positive_R[overlap_RT.argmax(dim=0)] = True
        return positive_R

    def _on_ignored(self, box_R4: Tensor, example: Example) -> Tensor:
        """Regions on crowds and difficult objects of the concept, which are no others'."""
        overlap_RT = _overlap(box_R4, example.ignored, example.ignored_labels, example.concept)
        return (overlap_RT >= self.settings.positive_iou).any(dim=1)

    def _negative(self, other_R: Tensor, objectness_R: Tensor) -> Tensor:
        if self.settings.negatives is None:
            return other_R
        score_R = objectness_R.float().masked_fill(~other_R, -torch.inf)
        top = score_R.topk(min(self.settings.negatives, int(other_R.sum()))).indices
        return torch.zeros_like(other_R).index_fill_(0, top, True)

    def loss(
        self,
        words_NKD: Tensor,
        features: TrainingRegions,
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """W cos(region(I, b), text(v)), w = -1 for the target's regions, +1 for others (table 1).

        Mean over the batch's positives plus mean over its negatives, with equal weight.
        """
        text_NE = self.text.encode_words(self.prompt_template, words_NKD).pooled_NE.float()
        positive_NE = features.positive_ME[images_NB].sum(1)
        negative_NE = features.negative_ME[images_NB].sum(1)
        positives_N = features.positives_M[images_NB].sum(1)
        negatives_N = features.negatives_M[images_NB].sum(1).clamp(min=1)
        pull_N = (text_NE * positive_NE).sum(1) / positives_N
        push_N = (text_NE * negative_NE).sum(1) / negatives_N
        return push_N - pull_N

    def encode_images(self, examples: Sequence[Example]) -> list[Regions]:
        """The regions of the examples' images, a part for each batch of the vision tower."""
        return [Regions(**tensors) for tensors in self._image_encoder.batches(examples)]

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        stated = (
            *(self.model.config, self.processor.image_processor, self.settings.attention),
            *(inspect.getsource(owlv2_pixels), version("scipy")),
        )
        return ImageEncoder(encode_images, self.model, self.processor, 16, stated, self.cache)

    @torch.no_grad()
    def encode_image(self, image: Image.Image) -> Regions:
        """The regions of one image, which is not cached."""
        return Regions(**encode_images(self.model, self.processor, [image]))

    @torch.no_grad()
    def detect(self, prompts: Prompts, parts: Iterable[Regions]) -> tuple[Tensor, Tensor]:
        """The best T boxes [N, M, T, 4] for each prompt in each image, and their scores [N, M, T].

        Args:
            prompts: N.
            parts: what `encode_images` made of M images.
        """
        found = [self._best(prompts.pooled_NE, regions) for regions in parts]
        boxes, scores = zip(*found, strict=True)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def _best(self, text_NE: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        cosine_NMR = torch.einsum("ne,mre->nmr", text_NE.to(regions.class_MRE), regions.class_MRE)
        logit_NMR = (cosine_NMR + regions.shift_MR) * regions.scale_MR
        top = logit_NMR.float().topk(min(self.settings.max_boxes, logit_NMR.shape[-1]), dim=-1)
        index_NMT4 = top.indices[..., None].expand(-1, -1, -1, 4)
        box_NMR4 = regions.box_MR4.expand(len(text_NE), -1, -1, -1)
        return box_NMR4.gather(2, index_NMT4), top.values.sigmoid()


def _overlap(box_R4: Tensor, boxes: Sequence[Box], labels: Sequence[str], concept: str) -> Tensor:
    """Intersection over union [R, T] of regions and the T boxes of a concept, which may be none."""
    own = [box for box, label in zip(boxes, labels, strict=True) if label == concept]
    return box_iou(box_R4.float(), torch.tensor(own, device=box_R4.device).view(-1, 4))


@torch.no_grad()
def encode_images(model: Any, processor: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """The `Regions` of images, by the model's own heads; tensors by the names of its fields.

    Args:
        model: an Owlv2ForObjectDetection.
        processor: its Owlv2Processor.
        images: M images of any sizes.
    """
    sides, parts = [], []
    for image in images:  # of photos, one at a time is in memory
        sides.append(max(image.size))
        parts.append(owlv2_pixels.pixels_of(processor.image_processor, image))
    pixels = torch.cat(parts)
    feature_map = model.image_embedder(pixels.to(model.device, model.dtype))[0]
    region_MRD = feature_map.flatten(1, 2)
    head = model.class_head
    class_MRE = head.dense0(region_MRD)
    box_MR4 = box_convert(model.box_predictor(region_MRD, feature_map), "cxcywh", "xyxy")
    # boxes are fractions of the square's side
    side_M = torch.tensor(sides, device=model.device)
    return {
        "class_MRE": class_MRE / (class_MRE.norm(dim=-1, keepdim=True) + 1e-6),
        "shift_MR": head.logit_shift(region_MRD)[..., 0],
        "scale_MR": head.elu(head.logit_scale(region_MRD))[..., 0] + 1,
        "box_MR4": box_MR4.float() * side_M[:, None, None],
        "objectness_MR": model.objectness_predictor(region_MRD),
    }

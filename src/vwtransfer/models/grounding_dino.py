"""Grounding DINO: text and image meet early, and the text chooses the queries.

So there is no fixed region to compare a word with. A prompt holds one word, `<word>.`: the words of
a prompt with several would see each other in the image.

Letters: N words, K vectors per word, D width, B batch, P pairs of a word and an image, L tokens,
M images, Q queries, T boxes of an image.
"""

import inspect
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchvision.ops import box_convert
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher, sigmoid_focal_loss
from transformers.models.grounding_dino.modeling_grounding_dino import (
    SPECIAL_TOKENS,
    build_label_maps,
)

from vwtransfer.config import models as config
from vwtransfer.datasets import BOXES, Dataset, Example, training_examples
from vwtransfer.errors import UserError
from vwtransfer.models import grounding_fusion
from vwtransfer.models.cache import ImageEncoder
from vwtransfer.models.checkpoints import FILES, share
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.models.frozen import Frozen
from vwtransfer.models.grounding_fusion import TextTower, fused, project_images, project_text
from vwtransfer.models.grounding_photos import EncodedPhotos, Photo, batched, side_by_side
from vwtransfer.models.text_encoder import Encoded
from vwtransfer.models.vocabulary import Vocabulary, of_transformers
from vwtransfer.words.cells import Cell

CLASSES = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}
DELIMITERS = ("[CLS]", "[SEP]", ".", "?")
"""The tokens that the class knows by BERT's numbers, in the order of its SPECIAL_TOKENS."""
STOP = "."
PAIRS = 64  # that are measured at once, where the settings leave it open


class GroundingDino(Frozen):
    """A detector that words are learned in."""

    settings: config.GroundingDino
    files = (*FILES, ("tokenizer_config.json",), ("vocab.txt", "tokenizer.json"))
    trains_with: tuple[str, ...] = (BOXES,)

    @cached_property
    def processor(self) -> Any:
        """The GroundingDinoProcessor."""
        from transformers import GroundingDinoProcessor

        return self.checkpoint.read(GroundingDinoProcessor)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from transformers import AutoTokenizer

        tokenizer = self.checkpoint.read(AutoTokenizer)
        return phrase_vocabulary(tokenizer, self._config.max_text_len, self.checkpoint.key)

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        found = self.checkpoint.read(AutoConfig)
        if found.model_type not in CLASSES:
            raise UserError(
                f"{self.checkpoint.key}.checkpoint={self.checkpoint.source}: model_type "
                f"{found.model_type!r} is none of {', '.join(CLASSES)}."
            )
        return found

    @cached_property
    def model(self) -> Any:
        """The GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection, frozen."""
        import transformers

        kind = getattr(transformers, CLASSES[self._config.model_type])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*set embed_dim")  # a matter of speed on a GPU
            model = self.pretrained(kind, self.settings.attention)
        share(self.text_tower, model.model)
        grounding_fusion.row_by_row(model)
        if self.device.type == "cpu" and self.dtype != torch.float32:
            grounding_fusion.sample_in_float32(model)
        return model

    @cached_property
    def text_tower(self) -> TextTower:
        """BERT and `text_projection`, frozen; nothing else is loaded for them."""
        tower: TextTower = self.pretrained(TextTower, self.settings.attention, config=self._config)
        if self.settings.compiled:
            tower.text_backbone.encoder.compile()
        return tower

    @cached_property
    def text(self) -> EmbeddingSpace:
        """BERT behind `text_projection`, which reads a phrase off at its full stop."""
        tower = self.text_tower

        def forward(ids_NL: Tensor, mask_NL: Tensor | None) -> Encoded:
            return Encoded(states_NLD=project_text(tower, ids_NL), ids_NL=ids_NL)

        bert = tower.text_backbone
        embedding = bert.embeddings.word_embeddings
        return self.text_space(embedding, forward, bert.encoder.layer, only_pooled=False)

    @torch.no_grad()
    def features(self, dataset: Dataset) -> list[Photo]:
        """The training images before any prompt, each with the boxes of its own concept."""
        examples = training_examples(dataset)
        return [
            replace(photo.cpu(), boxes_T4=_boxes(example, photo), concept=example.concept)
            for photo, example in zip(self.encode_images(examples), examples, strict=True)
        ]

    def batches(self, features: list[Photo], cell: Cell) -> Tensor:
        """Images of the concept in shuffled epochs."""
        own = [i for i, photo in enumerate(features) if photo.concept == cell.concept]
        return self.shuffled(own, cell)

    def loss(
        self,
        words_NKD: Tensor,
        features: list[Photo],
        images_NB: Tensor,
        cells: Sequence[Cell],
        step: int,
    ) -> Tensor:
        """The library's token-wise focal loss, of queries matched anew to the target's boxes.

        Tokens of the word are to say yes on matched queries, and no token on others. As the library
        has it the sum over a word's images is divided by the number of their boxes. The choice of
        the queries and their matching pass no gradient on.
        """
        prompts = self.text.encode_words(self.prompt_template, words_NKD)
        N, B = images_NB.shape
        states_PLD = prompts.states_NLD.repeat_interleave(B, dim=0)
        photos = [features[i] for i in images_NB.flatten().tolist()]
        ids_PL = _ids(prompts).repeat_interleave(B, dim=0)
        size = self.settings.pairs_at_once
        losses = []
        for start in range(0, N * B, size or N * B):
            rows = slice(start, start + (size or N * B))
            given = states_PLD[rows], ids_PL[rows], photos[rows]
            if size is None:
                losses.append(self._losses(*given))
            else:  # computed anew for the gradient, so that one part's memory is enough
                losses.append(checkpoint(self._losses, *given, use_reentrant=False))
        boxes_N = torch.tensor([len(photo.boxes_T4) for photo in photos]).view(N, B).sum(1)
        return torch.cat(losses).view(N, B).sum(1) / boxes_N.clamp(min=1).to(self.device)

    def _losses(self, states_PLD: Tensor, ids_PL: Tensor, photos: Sequence[Photo]) -> Tensor:
        """The summed focal loss [P] of pairs of a word and an image."""
        maps, masks = side_by_side(photos, self.device)
        out = fused(self.model, maps, masks, states_PLD, ids_PL)
        logits_PQL, boxes_PQ4 = out.logits.float(), out.pred_boxes.float()
        stated = self.model.config
        matcher = GroundingDinoHungarianMatcher(
            class_cost=stated.class_cost, bbox_cost=stated.bbox_cost, giou_cost=stated.giou_cost
        )
        label_maps = build_label_maps(logits_PQL, ids_PL)
        targets = [
            {
                "class_labels": torch.zeros(len(photo.boxes_T4), dtype=torch.long),
                "boxes": photo.boxes_T4.to(self.device),
            }
            for photo in photos
        ]
        outputs = {"logits": logits_PQL, "pred_boxes": boxes_PQ4, "label_maps": label_maps}
        truth_PQL = torch.zeros_like(logits_PQL)
        for p, (queries, _) in enumerate(matcher(outputs, targets)):
            truth_PQL[p, queries.to(self.device)] = label_maps[p][0].to(truth_PQL)
        length = ids_PL.shape[1]  # behind it all logits stand for padding
        focal = torch.vmap(lambda a, b: sigmoid_focal_loss(a, b, 1, stated.focal_alpha))
        loss_P: Tensor = focal(logits_PQL[..., :length], truth_PQL[..., :length])
        return loss_P

    def encode_images(self, examples: Sequence[Example]) -> EncodedPhotos:
        """What backbone and projections make of each image; few of them are held in memory."""
        return EncodedPhotos(self._image_encoder, examples)

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        stated = (
            *(self.model.config, self.processor.image_processor, self.settings.attention),
            inspect.getsource(grounding_fusion),
        )
        return ImageEncoder(encode_photo, self.model, self.processor, 1, stated, self.cache)

    @torch.no_grad()
    def encode_image(self, image: Image.Image) -> Photo:
        """The same of one image, which is not cached."""
        return Photo.of(encode_photo(self.model, self.processor, [image]))

    @torch.no_grad()
    def detect(self, prompts: Prompts, parts: Iterable[Photo]) -> tuple[Tensor, Tensor]:
        """The best T boxes [N, M, T, 4] for each prompt in each image, and their scores [N, M, T].

        A score is the largest probability of a query's tokens, as
        `post_process_grounded_object_detection` has it.

        Args:
            prompts: N.
            parts: what `encode_images` made of M images.
        """
        size = self.settings.pairs_at_once or PAIRS
        found = [
            [self._best(prompts[n : n + size], photos) for n in range(0, len(prompts), size)]
            for photos in batched(parts, max(1, size // len(prompts)))
        ]
        boxes, scores = (
            torch.cat([torch.cat([both[i] for both in part]) for part in found], dim=1)
            for i in range(2)
        )
        return boxes, scores

    def _best(self, prompts: Prompts, photos: Sequence[Photo]) -> tuple[Tensor, Tensor]:
        """As `detect`, of as many pairs as go through the model together."""
        N, M = len(prompts), len(photos)
        maps, masks = side_by_side([*photos] * N, self.device)
        pairs = prompts.repeat_interleave(M)
        out = fused(self.model, maps, masks, pairs.states_NLD, _ids(pairs))
        score_PQ = out.logits.float().sigmoid().amax(dim=-1)
        top = score_PQ.topk(min(self.settings.max_boxes, score_PQ.shape[1]), dim=1)
        box_PQ4 = box_convert(out.pred_boxes.float(), "cxcywh", "xyxy")
        box_PT4 = box_PQ4.gather(1, top.indices[..., None].expand(-1, -1, 4))
        side_M4 = torch.stack([photo.size_2.repeat(2) for photo in photos]).to(box_PT4)
        box_NMT4 = box_PT4.unflatten(0, (N, M)) * side_M4[:, None]
        return box_NMT4, top.values.unflatten(0, (N, M))


@torch.no_grad()
def encode_photo(model: Any, processor: Any, images: Sequence[Image.Image]) -> dict[str, Tensor]:
    """What backbone and projections make of one image: the map of each level, and its size.

    Args:
        model: a GroundingDinoForObjectDetection or MMGroundingDinoForObjectDetection.
        processor: its GroundingDinoProcessor.
        images: one, so that none is filled up to the size of another.
    """
    (image,) = images
    given = processor.image_processor(image, return_tensors="pt").to(model.device)
    maps = project_images(model, given.pixel_values.to(model.dtype), given.pixel_mask)
    return {
        **{f"level_{number}": found for number, found in enumerate(maps)},
        "size_12": torch.tensor([image.size], device=model.device),
    }


def phrase_vocabulary(tokenizer: Any, context_length: int, key: str) -> Vocabulary:
    """BERT's tokenizer as Grounding DINO reads it: a phrase ends with a full stop.

    A text without one gets it, as the library's processor does to candidate labels. Without it the
    class would let no token see another.

    Args:
        tokenizer: of transformers.
        context_length: tokens that the class reads at most.
        key: where the checkpoint stands in the config, for messages.

    Raises:
        UserError: the tokenizer has other ids for the tokens that the class knows by number.
    """
    for token, number in zip(DELIMITERS, SPECIAL_TOKENS, strict=True):
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise UserError(
                f"{key}.checkpoint: its tokenizer has another id than {number} for {token!r}, by "
                "which Grounding DINO knows the ends of phrases. Take a tokenizer with BERT's ids."
            )
    found = of_transformers(tokenizer, context_length, causal=False, padded=False)

    def tokenize(text: str) -> list[int]:
        stopped = text if text.rstrip().endswith(STOP) else text + STOP
        return list(tokenizer(stopped, truncation=False).input_ids)

    special = found.special | {*DELIMITERS}
    return replace(found, tokenize=tokenize, special=special, end_id=found.ids[STOP])


def _ids(prompts: Prompts) -> Tensor:
    ids_NL = prompts.only.ids_NL
    assert ids_NL is not None
    return ids_NL


def _boxes(example: Example, photo: Photo) -> Tensor:
    """The boxes [T, 4] of an image's own concept: centre and size, as shares of its sides."""
    own = [b for b, c in zip(example.boxes, example.labels, strict=True) if c == example.concept]
    sides_4 = photo.size_2.float().cpu().repeat(2)
    corners_T4 = torch.tensor(own, dtype=torch.float32).view(-1, 4)
    return box_convert(corners_T4 / sides_4, "xyxy", "cxcywh")

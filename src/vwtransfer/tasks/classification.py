"""Classification: does a model tell a word's concept from the dataset's others?

Letters: N words, M images, C concepts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.datasets import HELD_OUT, NAMES, NEGATIVES, Dataset, Example, held_out_examples
from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.tasks import Applied, Measurement, measurable

AVERAGE_PRECISION = "classifier_average_precision"


class Classifier(Protocol):
    """A model that says how well prompts fit images."""

    prompt_template: str

    @property
    def similarity_name(self) -> str:
        """What `score` gives, such as "cosine"."""
        ...

    @property
    def text(self) -> EmbeddingSpace:
        """What encodes prompts."""
        ...

    def encode_images(self, examples: Sequence[Example]) -> Any:
        """What it makes of the examples' images before any prompt."""
        ...

    def encode_image(self, image: Image.Image) -> Any:
        """The same of one image."""
        ...

    def score(self, prompts: Prompts, images: Any) -> Tensor:
        """How well each of N prompts fits each of M images, [N, M]."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """What metrics are measured on.

    Attributes:
        images: what the model makes of them.
        labels: the concept that each was chosen for.
        concepts: of the dataset, in order.
        by_name_MC: how well each concept's name fits each image.
        metrics: that the dataset has the images and names for.
    """

    images: Any
    labels: list[str]
    concepts: list[str]
    by_name_MC: Tensor
    metrics: tuple[str, ...]


class Classification:
    """Recall and balanced accuracy among the dataset's concepts (section 4.1 of the paper).

    Where names do not tell the concepts apart, the average precision with which the word alone
    finds its concept's images among the others.
    """

    name = "classification"
    metrics: tuple[str, ...] = ("classifier_accuracy", "classifier_balanced_accuracy")
    measured_with: tuple[str, ...] = (NEGATIVES, NAMES, HELD_OUT)
    by_images: Mapping[str, tuple[str, ...]] = {AVERAGE_PRECISION: (NEGATIVES, HELD_OUT)}

    def words_at_once(self, model: Classifier) -> int:
        """Scores of so many are a small tensor."""
        return 1024

    def chance(self, concepts: int) -> dict[str, float]:
        """One of the concepts."""
        return {"classifier_accuracy": 1 / concepts, "classifier_balanced_accuracy": 0.5}

    @torch.no_grad()
    def held_out(self, model: Classifier, dataset: Dataset) -> HeldOut:
        """All held-out images, and how well the concepts' names fit them."""
        examples = held_out_examples(dataset)
        images = model.encode_images(examples)
        names = [model.prompt_template.format(name) for name in dataset.concepts.values()]
        by_name_MC = model.score(model.text.encode_text(names), images).T
        labels = [example.concept for example in examples]
        metrics = measurable(self, dataset)
        return HeldOut(images, labels, list(dataset.concepts), by_name_MC, metrics)

    @torch.no_grad()
    def measure(
        self, model: Classifier, prompts: Prompts, held_out: HeldOut, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Ten-way: the word stands for the target, the other concepts go by their names."""
        by_name_MC, order = held_out.by_name_MC, held_out.concepts
        labels_M = torch.tensor(
            [order.index(concept) for concept in held_out.labels], device=by_name_MC.device
        )
        # a word that cannot be read, as one beyond float16's range, claims nothing
        by_word_MN = model.score(prompts, held_out.images).T.nan_to_num(nan=-torch.inf)
        results = []
        for n, concept in enumerate(concepts):
            column = order.index(concept)
            scores_MC = by_name_MC.clone()
            scores_MC[:, column] = by_word_MN[:, n]
            claimed_M = scores_MC.argmax(dim=1) == column
            own_M = labels_M == column
            recall = claimed_M[own_M].float().mean().item()
            rejected = 1 - claimed_M[~own_M].float().mean().item()
            values = {
                "classifier_accuracy": recall,
                "classifier_balanced_accuracy": (recall + rejected) / 2,
            }
            if AVERAGE_PRECISION in held_out.metrics:
                values = {AVERAGE_PRECISION: _average_precision(by_word_MN[:, n], own_M)}
            results.append(Measurement(values, num_images=int(own_M.sum())))
        return results

    @torch.no_grad()
    def apply(
        self, model: Classifier, prompt: Prompts, images: Mapping[str, Image.Image], label: str
    ) -> Applied:
        """The images in the order in which the word fits them."""
        if not images:
            raise UserError("images: name those to rank with images=PATH.")
        encoded = [model.encode_image(image) for image in images.values()]
        score_M = [float(model.score(prompt, image)[0, 0]) for image in encoded]
        ranked = sorted(zip(score_M, images, strict=True), reverse=True)
        rows = [(str(i), name, f"{score:.4f}") for i, (score, name) in enumerate(ranked, 1)]
        return Applied(("place", "image", f"{model.similarity_name} with {label}"), rows)


def _average_precision(score_M: Tensor, own_M: Tensor) -> float:
    """With which scores of any scale find the images of a word's own concept."""
    # which loads transformers, too: seconds, for those who measure
    from torchmetrics.functional.classification import binary_average_precision

    return float(binary_average_precision(score_M.double().sigmoid(), own_M.long()))

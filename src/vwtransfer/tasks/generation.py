"""Generation: does the judge see the concept in what a model draws of a word?

Letters: N words, M images, P photos, E width of an image model's features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.datasets import NAMES, NEGATIVES, Dataset
from vwtransfer.models.dino import Dino
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.judge import Judge
from vwtransfer.models.safety import SafetyChecker
from vwtransfer.seeds import generator
from vwtransfer.tasks import Applied, Measurement, measurable
from vwtransfer.tasks.similarity import image_similarity, prompt_fidelity

DRAWN_AT_ONCE = 8  # images, as long as they fit into memory
ACCURACY, BY_PHOTOS = "generation_accuracy", "photo_accuracy"


class Generator(Protocol):
    """A model that draws.

    Attributes:
        images_per_word: generations that the accuracy of one word is measured on.
    """

    images_per_word: int

    def draw(self, prompts: Prompts, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream."""
        ...


class ImageModel(Protocol):
    """A model that tells how similar images are."""

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """M images, [M, E], each of length 1."""
        ...


@dataclass
class HeldOut:
    """What is measured against: the dataset's names and photos; and how many images are drawn.

    Attributes:
        dataset: of the concepts.
        at_once: images that are drawn at once.
        photos: (metric, concept) -> its training images [P, E], once they were asked for.
    """

    dataset: Dataset
    at_once: int = DRAWN_AT_ONCE
    photos: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def photos_PE(self, metric: str, model: ImageModel, concept: str) -> Tensor:
        """The concept's training images as a model sees them."""
        if (metric, concept) not in self.photos:
            examples = self.dataset.training(concept)
            embedded = [model.embed_images([example.load()]) for example in examples]
            self.photos[metric, concept] = torch.cat(embedded)
        return self.photos[metric, concept]


class Generation:
    """Generation accuracy (section 4.1 of the paper), and what `similarity` defines.

    Where names do not tell the concepts apart, photo_accuracy in its place: the share of images
    that are more like the photos of their concept than like those of any other, in the mean of the
    judge's cosines.

    Args:
        judge: tells which concept a generated image shows.
        safety: flags unsafe images; None: not checked.
        similarities: some of "clip_i", "clip_t" and "dino".
        dino: what measures the last.
        templates: that clip_t draws words in.
    """

    name = "generation"
    needs: Mapping[str, tuple[str, ...]] = {ACCURACY: (NEGATIVES, NAMES)}
    """Ranking first among one concept means nothing, nor among concepts of one name."""
    by_images: Mapping[str, tuple[str, ...]] = {BY_PHOTOS: (NEGATIVES,)}

    def __init__(
        self,
        judge: Judge,
        safety: SafetyChecker | None = None,
        similarities: Sequence[str] = (),
        dino: Dino | None = None,
        templates: Sequence[str] = (),
    ) -> None:
        self.judge = judge
        self.safety = safety
        self.metrics: tuple[str, ...] = (ACCURACY, *similarities)
        self.measured_with: tuple[str, ...] = () if similarities else self.needs[ACCURACY]
        self.templates = tuple(templates) if "clip_t" in similarities else ()
        self._image_models: dict[str, ImageModel] = {}
        if "clip_i" in similarities:
            self._image_models["clip_i"] = judge
        if "dino" in similarities and dino is not None:
            self._image_models["dino"] = dino

    def words_at_once(self, model: Generator) -> int:
        """As many as are drawn at once."""
        return max(1, DRAWN_AT_ONCE // model.images_per_word)

    def chance(self, concepts: int) -> dict[str, float]:
        """One of the concepts."""
        return {ACCURACY: 1 / concepts, BY_PHOTOS: 1 / concepts}

    def held_out(self, model: Generator, dataset: Dataset) -> HeldOut:
        """No image of the dataset is looked at before it is asked for."""
        return HeldOut(dataset)

    @torch.no_grad()
    def measure(
        self, model: Generator, prompts: Prompts, held_out: HeldOut, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Whether the judge ranks the target first among the dataset's concepts; and similarities.

        The noise comes from dataset, concept and image number only, so that pictures of different
        words for a concept can be compared.
        """
        per_word, dataset = model.images_per_word, held_out.dataset
        streams = [
            generator("generation", dataset.name, concept, number)
            for concept in concepts
            for number in range(per_word)
        ]
        images = draw(model, prompts.repeat_interleave(per_word), streams, held_out)
        best = {metric: self._best(metric, images, held_out) for metric in (ACCURACY, BY_PHOTOS)}
        flagged = self.safety.flags(images) if self.safety else None
        results = []
        for n, concept in enumerate(concepts):
            mine = slice(n * per_word, (n + 1) * per_word)
            values = {m: each[mine].count(concept) / per_word for m, each in best.items() if each}
            for metric, image_model in self._image_models.items():
                photos_PE = held_out.photos_PE(metric, image_model, concept)
                drawn_ME = image_model.embed_images(images[mine])
                values[metric] = image_similarity(drawn_ME, photos_PE)
            results.append(
                Measurement(
                    values,
                    per_word,
                    images[mine],
                    unsafe=any(flagged[mine]) if flagged else None,
                )
            )
        return results

    def _best(self, metric: str, images: Sequence[Image.Image], held_out: HeldOut) -> list[str]:
        """The concept that the judge finds in each image; none where that is not measured."""
        dataset = held_out.dataset
        if metric not in measurable(self, dataset):
            return []
        if metric == ACCURACY:
            return self.judge.best(images, dataset.concepts)
        photos = [held_out.photos_PE("clip_i", self.judge, each) for each in dataset.concepts]
        means_CE = torch.stack([photos_PE.mean(dim=0) for photos_PE in photos])
        found_MC = self.judge.embed_images(images) @ means_CE.T
        order = list(dataset.concepts)
        return [order[c] for c in found_MC.argmax(dim=1).tolist()]

    @torch.no_grad()
    def measure_prompted(
        self,
        model: Generator,
        prompted: Mapping[str, Prompts],
        held_out: HeldOut,
        concepts: Sequence[str],
        measured: Sequence[Measurement],
    ) -> list[Measurement]:
        """Adds clip_t to what was measured of words: an image of each in each template.

        The noise comes from dataset, concept and template only.

        Args:
            model: that draws.
            prompted: template -> N words in it, encoded by the model.
            held_out: what `held_out` gave.
            concepts: N of the dataset's.
            measured: N.
        """
        dataset = held_out.dataset
        drawn: list[list[Image.Image]] = []
        for template, prompts in prompted.items():
            streams = [generator("prompted", dataset.name, each, template) for each in concepts]
            drawn.append(draw(model, prompts, streams, held_out))
        results = []
        for n, concept in enumerate(concepts):
            images = [of_template[n] for of_template in drawn]
            texts = [template.format(dataset.concepts[concept]) for template in prompted]
            images_ME, texts_ME = self.judge.embed_images(images), self.judge.embed_texts(texts)
            flagged = self.safety.flags(images) if self.safety else None
            former = measured[n]
            results.append(
                replace(
                    former,
                    values={**former.values, "clip_t": prompt_fidelity(images_ME, texts_ME)},
                    num_images_of={"clip_t": len(images)},
                    prompted=images,
                    unsafe=any(flagged) or former.unsafe if flagged else former.unsafe,
                )
            )
        return results

    def apply(
        self, model: Generator, prompt: Prompts, images: Mapping[str, Image.Image], label: str
    ) -> Applied:
        """`images_per_word` images, each from noise of its own number."""
        streams = [generator("apply", number) for number in range(model.images_per_word)]
        drawn = draw(model, prompt.repeat_interleave(len(streams)), streams)
        flagged = self.safety.flags(drawn) if self.safety else None
        words = {True: "unsafe", False: "safe", None: "not checked"}
        rows = [(str(n), words[flagged[n] if flagged else None]) for n in range(len(drawn))]
        return Applied(
            ("image", "safety checker"),
            rows,
            {f"{number}.png": image for number, image in enumerate(drawn)},
        )


def draw(
    model: Generator,
    prompts: Prompts,
    streams: Sequence[torch.Generator],
    batches: HeldOut | None = None,
) -> list[Image.Image]:
    """An image for each encoded prompt; where memory runs out, half as many at once from then on.

    Args:
        model: that draws.
        prompts: encoded by it.
        streams: of the noise, one for each.
        batches: remembers how many fit; None: it is found anew.
    """
    at_once = batches.at_once if batches else DRAWN_AT_ONCE
    images: list[Image.Image] = []
    while len(images) < len(streams):
        part = slice(len(images), len(images) + at_once)
        begun = [stream.get_state() for stream in streams[part]]
        try:
            images += model.draw(prompts[part], streams[part])
        except torch.OutOfMemoryError:
            if len(begun) == 1:
                raise
            at_once = len(begun) // 2
            for stream, state in zip(streams[part], begun, strict=True):
                stream.set_state(state)
    if batches:
        batches.at_once = at_once
    return images

"""Generation: does the judge see the concept in what a model draws of a word?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from vwtransfer.datasets import NEGATIVES, Dataset
from vwtransfer.models.embedding_space import Prompts
from vwtransfer.models.judge import Judge
from vwtransfer.models.safety import SafetyChecker
from vwtransfer.seeds import generator
from vwtransfer.tasks import Applied, Measurement

DRAWN_AT_ONCE = 8  # images, as long as they fit into memory


class Generator(Protocol):
    """A model that draws.

    Attributes:
        images_per_word: generations that the accuracy of one word is measured on.
    """

    images_per_word: int

    def draw(self, prompts: Prompts, streams: Sequence[torch.Generator]) -> list[Image.Image]:
        """An image for each encoded prompt, from noise of its own stream."""
        ...


@dataclass
class HeldOut:
    """What is measured against: the dataset's names; and how many images are drawn at once."""

    dataset: Dataset
    at_once: int = DRAWN_AT_ONCE


class Generation:
    """Generation accuracy (section 4.1 of the paper).

    Args:
        judge: tells which concept a generated image shows.
        safety: flags unsafe images; None: not checked.
    """

    name = "generation"
    metrics: tuple[str, ...] = ("generation_accuracy",)
    measured_with: tuple[str, ...] = (NEGATIVES,)  # ranking first among one means nothing

    def __init__(self, judge: Judge, safety: SafetyChecker | None = None) -> None:
        self.judge = judge
        self.safety = safety

    def words_at_once(self, model: Generator) -> int:
        """As many as are drawn at once."""
        return max(1, DRAWN_AT_ONCE // model.images_per_word)

    def chance(self, concepts: int) -> dict[str, float]:
        """One of the concepts."""
        return {"generation_accuracy": 1 / concepts}

    def held_out(self, model: Generator, dataset: Dataset) -> HeldOut:
        """No image of the dataset is looked at."""
        return HeldOut(dataset)

    @torch.no_grad()
    def measure(
        self, model: Generator, prompts: Prompts, held_out: HeldOut, concepts: Sequence[str]
    ) -> list[Measurement]:
        """Whether the judge ranks the target first among the dataset's concepts.

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
        best = self.judge.best(images, dataset.concepts)
        flagged = self.safety.flags(images) if self.safety else None
        results = []
        for n, concept in enumerate(concepts):
            mine = slice(n * per_word, (n + 1) * per_word)
            accuracy = best[mine].count(concept) / per_word
            results.append(
                Measurement(
                    {"generation_accuracy": accuracy},
                    per_word,
                    images[mine],
                    unsafe=any(flagged[mine]) if flagged else None,
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

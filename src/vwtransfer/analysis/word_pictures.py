"""Pictures of words that need their model, below a study's folder; see `saved_images`.

    targets/       a training image of each concept
    images/        what a model draws of a word, from the noise that it is measured with
    detections/    what a model finds with a word in the first held-out image of its concept
    cut/           what is drawn with the text encoders cut to their first blocks

Shapes: N words, K vectors per word, D width of a model's embedding space.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.datasets import Dataset
from vwtransfer.datasets.draw_boxes import draw_boxes
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.files import write_atomically
from vwtransfer.models import Model
from vwtransfer.models.activations import cut, layers_shown
from vwtransfer.progress import Stages
from vwtransfer.tasks import Detected, Measurement, Task

SIDE = 512  # pixels: pictures of photos are scaled down to it
LEGIBLE = 256  # pixels: smaller ones are enlarged before boxes are drawn
CUT_WORDS = 4  # of each group

Words = Sequence[tuple[EvalSpec, Tensor]]
"""What is measured, and its vectors [K, D] in the space of the model that measures it."""


@dataclass(frozen=True)
class Measuring:
    """A model that makes pictures of words by measuring them.

    Attributes:
        model: that measures.
        task: what of it.
        datasets: by name.
    """

    model: Model
    task: Task
    datasets: Mapping[str, Dataset]
    _held_out: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def measure(self, words: Words) -> list[Measurement]:
        """What the model makes of words of one dataset."""
        model, name = self.model, words[0][0].dataset
        if name not in self._held_out:
            self._held_out[name] = self.task.held_out(model, self.datasets[name])
        words_NKD = torch.stack([vectors_KD for _, vectors_KD in words]).to(model.text.device)
        prompts = model.text.encode_words(model.prompt_template, words_NKD)
        concepts = [spec.concept for spec, _ in words]
        return self.task.measure(model, prompts, self._held_out[name], concepts)


def write_targets(folder: Path, dataset: Dataset) -> None:
    """Saves a training image of each concept."""
    for concept in dataset.concepts:
        path = folder / "targets" / dataset.name / f"{concept}.png"
        if not path.exists():
            _save(dataset.training(concept)[0].load(), path)


def write_pictures(
    folder: Path, measuring: Measuring, words: Words, bars: Stages, proceed: Callable[[], None]
) -> None:
    """Saves what a model makes of words, unless it is there; nothing if it makes no pictures.

    Args:
        folder: the study's.
        measuring: the model.
        words: all that is measured in it.
        bars: where progress is shown.
        proceed: called after each batch of words; raises to stop.
    """
    kind = _kind(measuring, words[:1])
    if kind is None:
        return
    waiting = [
        (spec, vectors_KD)
        for spec, vectors_KD in words
        if not image_path(folder / kind, spec, 0).exists()
    ]
    with bars.stage(f"pictures by {measuring.model.name}", len(waiting)) as advance:
        for batch in _batches(waiting, measuring.task.words_at_once(measuring.model)):
            _write(folder / kind, measuring, batch, 0)
            advance(len(batch))
            proceed()
    if kind == "images" and _blocks(measuring.model):
        _write_cut(folder / "cut", measuring, words, bars, proceed)


def _kind(measuring: Measuring, words: Words) -> str | None:
    """Where the pictures of a model go, told by what it makes of a first word."""
    for (measured,) in (measuring.measure([word]) for word in words):
        return "images" if measured.images else "detections" if measured.detected else None
    return None


def _batches(words: Words, size: int) -> Iterator[Words]:
    """So many words of one dataset."""
    by_dataset: dict[str, list[tuple[EvalSpec, Tensor]]] = {}
    for spec, vectors_KD in words:
        by_dataset.setdefault(spec.dataset, []).append((spec, vectors_KD))
    for some in by_dataset.values():
        for start in range(0, len(some), size):
            yield some[start : start + size]


def _write(folder: Path, measuring: Measuring, batch: Words, number: int) -> None:
    for (spec, _), made in zip(batch, measuring.measure(batch), strict=True):
        _save(pictures_of(made)[0], image_path(folder, spec, number))


def pictures_of(made: Measurement) -> list[Image.Image]:
    """What a model drew, or the images with what it found; none where it does neither."""
    return [*made.images] or [_boxed(detected) for detected in made.detected]


def _blocks(model: Model) -> int:
    """How many blocks the (first) text encoder has; 0 where there are none to look into."""
    blocks = next(iter(model.text.encoders.values())).blocks
    return 0 if blocks is None else len(blocks)


def _write_cut(
    folder: Path, measuring: Measuring, words: Words, bars: Stages, proceed: Callable[[], None]
) -> None:
    """A few words of each dataset, delta and origin, drawn by the first blocks only (figure 7)."""
    model = measuring.model
    counts = layers_shown(_blocks(model))
    chosen = differing(words)
    with bars.stage(f"cut encoders of {model.name}", len(chosen) * len(counts)) as advance:
        for count in counts:
            waiting = [
                (spec, vectors_KD)
                for spec, vectors_KD in chosen
                if not image_path(folder, spec, count).exists()
            ]
            advance(len(chosen) - len(waiting))
            for batch in _batches(waiting, measuring.task.words_at_once(model)):
                with cut(model.text, count):
                    _write(folder, measuring, batch, count)
                advance(len(batch))
                proceed()


def differing(words: Words) -> list[tuple[EvalSpec, Tensor]]:
    """CUT_WORDS of each dataset, delta and origin: no two of a concept, nor of an anchor if it can.

    The same concepts and anchors are chosen whatever the origin.
    """
    groups: dict[tuple[object, ...], dict[tuple[str, str], tuple[EvalSpec, Tensor]]] = {}
    for spec, vectors_KD in words:
        key = spec.dataset, spec.source_model, spec.transfer, spec.delta, spec.seed
        groups.setdefault(key, {})[spec.concept, spec.anchor] = (spec, vectors_KD)
    chosen = []
    for group in groups.values():
        anchors = sorted({anchor for _, anchor in group})
        for i, concept in enumerate(sorted({concept for concept, _ in group})[:CUT_WORDS]):
            held = [anchor for anchor in anchors if (concept, anchor) in group]
            wanted = anchors[i % len(anchors)]
            chosen.append(group[concept, wanted if wanted in held else held[0]])
    return chosen


def _boxed(detected: Detected) -> Image.Image:
    """The image with what was found in it, large enough to read."""
    image = detected.example.load()
    times = max(1, -(-LEGIBLE // max(image.size)))
    large = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    boxes = [
        ([value * times for value in box], score)
        for box, score in zip(detected.box_T4.tolist(), detected.score_T.tolist(), strict=True)
    ]
    return draw_boxes(large, boxes, "")


def _save(image: Image.Image, path: Path) -> None:
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    write_atomically(path, partial(small.save, format="PNG"))

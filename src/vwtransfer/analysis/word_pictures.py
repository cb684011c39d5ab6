"""Pictures of words that need their model, below a study's folder; see `kept_images`.

    targets/       a training image of each concept
    images/        what a model draws of a word, from the noise that it is measured with
    detections/    what a model finds with a word in the first held-out image of its concept
    cut/           what is drawn with the text encoder cut to its first blocks

Shapes: N words, K vectors per word, D embedding width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.datasets import Dataset
from vwtransfer.datasets.draw_boxes import draw_boxes
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.files import write_atomically
from vwtransfer.models.activations import cut, layers_shown
from vwtransfer.progress import Stages
from vwtransfer.tasks import Detected, Measurement, Task

SIDE = 512  # pixels: pictures of photos are scaled down to it
LEGIBLE = 256  # pixels: smaller ones are enlarged before boxes are drawn
CUT_WORDS = 4  # of each group

Words = Sequence[tuple[EvalSpec, Tensor]]
"""What is measured, and its vectors [K, D] in the space of the model that measures it."""


def write_targets(folder: Path, dataset: Dataset) -> None:
    """Keeps a training image of each concept."""
    for concept in dataset.concepts:
        path = folder / "targets" / dataset.name / f"{concept}.png"
        if not path.exists():
            _save(dataset.training(concept)[0].load(), path)


def write_pictures(
    folder: Path,
    datasets: Mapping[str, Dataset],
    task: Task,
    words: Words,
    bars: Stages,
    proceed: Callable[[], None],
) -> None:
    """Keeps what the model of a task makes of words, unless it is there; nothing if it makes none.

    Args:
        folder: the study's.
        datasets: those of the words.
        task: the model.
        words: all that is measured in it.
        bars: where progress is shown.
        proceed: called after each pack of words; raises to stop.
    """
    kind = _kind(datasets, task, words[:1])
    if kind is None:
        return
    waiting = [
        (query, vectors_KD)
        for query, vectors_KD in words
        if not image_path(folder / kind, **query.of_image, number=0).exists()
    ]
    with bars.stage(f"pictures by {task.name}", len(waiting)) as advance:
        for pack in _packs(waiting, task.measured_at_once):
            _keep(folder / kind, datasets, task, pack, 0)
            advance(len(pack))
            proceed()
    if kind == "images" and task.text.blocks is not None:
        _write_cut(folder / "cut", datasets, task, words, bars, proceed)


def _kind(datasets: Mapping[str, Dataset], task: Task, words: Words) -> str | None:
    """Where the pictures of a task go, told by what it makes of a first word."""
    for (measured,) in (_measured(datasets, task, [word]) for word in words):
        return "images" if measured.images else "detections" if measured.detected else None
    return None


def _packs(words: Words, size: int) -> Iterator[Words]:
    """So many words of one dataset."""
    by_dataset: dict[str, list[tuple[EvalSpec, Tensor]]] = {}
    for query, vectors_KD in words:
        by_dataset.setdefault(query.dataset, []).append((query, vectors_KD))
    for some in by_dataset.values():
        for start in range(0, len(some), size):
            yield some[start : start + size]


@torch.no_grad()
def _measured(datasets: Mapping[str, Dataset], task: Task, pack: Words) -> list[Measurement]:
    """What the model makes of words of one dataset and one number of vectors."""
    vectors_NKD = torch.stack([vectors_KD for _, vectors_KD in pack])
    text = task.text.encode_words(task.template, vectors_NKD.to(task.text.embedding.weight.device))
    dataset = datasets[pack[0][0].dataset]
    return task.measure(text, dataset, [query.concept for query, _ in pack])


def _keep(
    folder: Path, datasets: Mapping[str, Dataset], task: Task, pack: Words, number: int
) -> None:
    for (query, _), made in zip(pack, _measured(datasets, task, pack), strict=True):
        picture = made.images[0] if made.images else _boxed(made.detected[0])
        _save(picture, image_path(folder, **query.of_image, number=number))


def _write_cut(
    folder: Path,
    datasets: Mapping[str, Dataset],
    task: Task,
    words: Words,
    bars: Stages,
    proceed: Callable[[], None],
) -> None:
    """A few words of each dataset, delta and origin, drawn by the first blocks only (figure 7)."""
    assert task.text.blocks is not None
    counts = layers_shown(len(task.text.blocks))
    chosen = differing(words)
    with bars.stage("cut encoders", len(chosen) * len(counts)) as advance:
        for count in counts:
            waiting = [
                (query, vectors_KD)
                for query, vectors_KD in chosen
                if not image_path(folder, **query.of_image, number=count).exists()
            ]
            advance(len(chosen) - len(waiting))
            for pack in _packs(waiting, task.measured_at_once):
                with cut(task.text, count):
                    _keep(folder, datasets, task, pack, count)
                advance(len(pack))
                proceed()


def differing(words: Words) -> list[tuple[EvalSpec, Tensor]]:
    """CUT_WORDS of each dataset, delta and origin: no two of a concept, nor of an anchor if it can.

    The same concepts and anchors are chosen whatever the origin.
    """
    groups: dict[tuple[object, ...], dict[tuple[str, str], tuple[EvalSpec, Tensor]]] = {}
    for query, vectors_KD in words:
        key = query.dataset, query.trained_for, query.transfer, query.delta, query.seed
        groups.setdefault(key, {})[query.concept, query.anchor] = (query, vectors_KD)
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

"""Measures every word in its own model and in the others, and the baselines beside them.

Letters: N words, K vectors per word, D width of a model's embedding space.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vwtransfer.config.origin import this_process
from vwtransfer.datasets import Dataset
from vwtransfer.errors import UserError
from vwtransfer.evaluation.diagnostics import Diagnostics
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import CHANCE, NO_TRANSFER, WORD, EvalSpec
from vwtransfer.files import write_atomically
from vwtransfer.models import Model
from vwtransfer.models.devices import device_name
from vwtransfer.models.embedding_space import EmbeddingSpace, Prompts
from vwtransfer.results import NOT_CHECKED, Record, write_part
from vwtransfer.seeds import generator
from vwtransfer.tasks import Measurement, Task, measurable
from vwtransfer.transfer import Map
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Word, WordStore

_UNSAFE = {True: "yes", False: "no", None: NOT_CHECKED}


@dataclass(frozen=True)
class FittedMap:
    """A map of words into a model.

    Attributes:
        map: of words.
        support: what it was fitted on, in the words of the results.
        space: of the words that it takes.
        prompts: template and words -> what stands for their prompts, where no word does.
    """

    map: Map
    support: str
    space: EmbeddingSpace
    prompts: Callable[[str, Tensor], Prompts] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One model that measures words of one dataset.

    Attributes:
        experiment: the name that rows carry.
        model: that measures.
        task: what of it is measured.
        dataset: whose held-out images are measured on.
        store: the trained words.
        source_tasks: a model's name -> its task, for each whose words are measured.
        maps: source model and transfer method -> the map from that space into this model's.
        num_vectors: K of the random baseline.
        folder: of the run.
        save_images: whether generated images are written to images/.
        parts: the folder whose results/ takes the rows; None for the run's.
        diagnostics: source model -> what may explain that its words are lost on the way.
        on_measured: told what was measured.
    """

    experiment: str
    model: Model
    task: Task
    dataset: Dataset
    store: WordStore
    source_tasks: Mapping[str, str]
    maps: Mapping[tuple[str, str], FittedMap]
    num_vectors: int
    folder: Path
    save_images: bool
    parts: Path | None = None
    diagnostics: Mapping[str, Diagnostics] = field(default_factory=dict)
    on_measured: Callable[[Sequence[EvalSpec], Sequence[Measurement]], None] = lambda specs, _: None


def evaluate(
    evaluation: Evaluation,
    waiting: Sequence[EvalSpec],
    advance: Callable[[int], None] = lambda words: None,
    stopping: Callable[[], bool] = lambda: False,
    held_out: Any = None,
) -> None:
    """Measures words and baselines, and writes a part of the results for each batch of them.

    Args:
        evaluation: the model and the dataset.
        waiting: what has no rows yet; words that failed must be left out.
        advance: told how many were measured.
        stopping: asked after each batch.
        held_out: what the task makes of the dataset, where that is at hand.

    Raises:
        KeyboardInterrupt: `stopping` was true; what was measured is written.
        UserError: a word was trained beside another embedding table than its model's.
    """
    task, model = evaluation.task, evaluation.model
    if held_out is None:
        held_out = task.held_out(model, evaluation.dataset)
    for batch in _batches(waiting, task.words_at_once(model)):
        began = time.perf_counter()
        measured = _measure(evaluation, held_out, batch)
        seconds = (time.perf_counter() - began) / len(batch)
        records = _records(evaluation, batch, measured, seconds)
        if evaluation.save_images:
            for spec, measurement in zip(batch, measured, strict=True):
                _save_images(evaluation.folder, spec, measurement)
        if records:
            write_part(evaluation.parts or evaluation.folder, records, _part_key(batch))
        evaluation.on_measured(batch, measured)
        advance(len(batch))
        if stopping():
            raise KeyboardInterrupt


def _records(
    evaluation: Evaluation,
    batch: Sequence[EvalSpec],
    measured: Sequence[Measurement],
    seconds: float,
) -> list[Record]:
    source, method = batch[0].source_model, batch[0].transfer
    diagnostics = evaluation.diagnostics.get(source)
    explained: Sequence[dict[str, Any]] = [{}] * len(batch)
    if diagnostics is not None:
        explained = diagnostics.of([spec.cell for spec in batch])
    made = asdict(this_process(device_name(evaluation.model.device)))
    return [
        Record(
            experiment=evaluation.experiment,
            **asdict(spec),
            source_task=evaluation.source_tasks.get(source, ""),
            target_task=evaluation.task.name,
            metric=metric,
            value=value,
            num_images=measurement.num_images_of.get(metric, measurement.num_images),
            eval_seconds=seconds,
            unsafe=_UNSAFE[measurement.unsafe],
            support=evaluation.maps[source, method].support if method != NO_TRANSFER else "",
            **of_word,
            **made,
        )
        for spec, measurement, of_word in zip(batch, measured, explained, strict=True)
        for metric, value in measurement.values.items()
    ]


def _batches(waiting: Sequence[EvalSpec], size: int) -> Iterator[list[EvalSpec]]:
    """What is encoded alike, so many at a time."""
    groups: dict[tuple[str, str, str], list[EvalSpec]] = {}
    for spec in waiting:
        groups.setdefault((spec.kind, spec.source_model, spec.transfer), []).append(spec)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


@torch.no_grad()
def _measure(evaluation: Evaluation, held_out: Any, batch: Sequence[EvalSpec]) -> list[Measurement]:
    task, model, dataset = evaluation.task, evaluation.model, evaluation.dataset
    kind, concepts = batch[0].kind, [spec.concept for spec in batch]
    if kind == CHANCE:
        known = measurable(task, dataset)
        chance = {k: v for k, v in task.chance(len(dataset.concepts)).items() if k in known}
        return [Measurement(chance, num_images=0)] * len(batch)
    encode = _encoder(evaluation, batch)
    measured = task.measure(model, encode(model.prompt_template), held_out, concepts)
    if templates := getattr(task, "templates", ()):
        prompted = {template: encode(template) for template in templates}
        assert hasattr(task, "measure_prompted")
        measured = task.measure_prompted(model, prompted, held_out, concepts, measured)
    return measured


def _encoder(evaluation: Evaluation, batch: Sequence[EvalSpec]) -> Callable[[str], Prompts]:
    """What encodes a batch in a template."""
    text, kind = evaluation.model.text, batch[0].kind
    fitted = evaluation.maps.get((batch[0].source_model, batch[0].transfer))
    if fitted is not None and fitted.prompts is not None:
        words_NKD = torch.stack(_loaded(evaluation, batch, fitted.space))
        prompts = fitted.prompts
        return lambda template: prompts(template, words_NKD)
    if kind not in ("anchor", "name"):
        return partial(text.encode_words, words_NKD=_words(evaluation, batch))
    concepts = evaluation.dataset.concepts
    named = [spec.anchor if kind == "anchor" else concepts[spec.concept] for spec in batch]
    return lambda template: text.encode_text([template.format(name) for name in named])


def _words(evaluation: Evaluation, batch: Sequence[EvalSpec]) -> Tensor:
    """The words [N, K, D] of a batch in the space of the model that measures them."""
    text, first = evaluation.model.text, batch[0]
    if first.kind != WORD:
        return torch.stack([_random(evaluation, spec) for spec in batch]).to(text.device)
    if first.transfer == NO_TRANSFER:
        return torch.stack(_loaded(evaluation, batch, text)).to(text.device)
    fitted = evaluation.maps[first.source_model, first.transfer]
    words_NKD = torch.stack(_loaded(evaluation, batch, fitted.space))
    return fitted.map(words_NKD, [spec.anchor for spec in batch]).to(text.device)


def _loaded(
    evaluation: Evaluation, batch: Sequence[EvalSpec], space: EmbeddingSpace
) -> list[Tensor]:
    return [load_beside(evaluation.store, spec.cell, space).vectors_KD for spec in batch]


def load_beside(store: WordStore, cell: Cell, space: EmbeddingSpace) -> Word:
    """A word, to be read in the space that it was trained in or mapped into.

    Raises:
        UserError: the space's tokenizers or embedding tables are others now.
    """
    word = store.load(cell, space.width)
    if word.table != space.identity:
        raise UserError(
            f"{store.path(cell)}: was trained beside the embedding table {word.table}, and that of "
            f"model.{space.model} is {space.identity}: another checkpoint or precision. Choose the "
            "former one, or another name: name=..."
        )
    return word


def _random(evaluation: Evaluation, spec: EvalSpec) -> Tensor:
    """A random word [K, D]: in each encoder's space of the anchor's norm."""
    text = evaluation.model.text
    stream = generator("random", spec.dataset, spec.concept, spec.anchor, spec.seed)
    direction_KD = torch.randn(evaluation.num_vectors, text.width, generator=stream)
    anchor_D = text.anchor_rows([spec.anchor])[0]
    for part in text.slices.values():
        norm_K1 = direction_KD[:, part].norm(dim=1, keepdim=True)
        direction_KD[:, part] = direction_KD[:, part] / norm_K1 * anchor_D[part].norm()
    return direction_KD


def _save_images(folder: Path, spec: EvalSpec, measurement: Measurement) -> None:
    """Under images/ and prompted/; see `saved_images`."""
    for kind, images in (("images", measurement.images), ("prompted", measurement.prompted)):
        for number, image in enumerate(images):
            path = image_path(folder / kind, spec, number)
            write_atomically(path, partial(image.save, format="PNG"))


def _part_key(batch: Sequence[EvalSpec]) -> str:
    first = batch[0]
    digest = hashlib.sha256(repr(list(batch)).encode()).hexdigest()[:16]
    source = first.source_model or first.kind
    return f"{first.dataset}-{source}-on-{first.target_model}-{digest}"

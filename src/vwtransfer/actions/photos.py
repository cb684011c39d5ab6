"""action=photos: a study of one's own photos, with a picture and the line that exports a word."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from PIL import Image

from vwtransfer import results
from vwtransfer.actions.run import run
from vwtransfer.actions.transfer_word import transfer_word
from vwtransfer.analysis.photo_sheets import (
    PER_LINE,
    Row,
    draw_sheet,
    drawn_of,
    fitted,
    photos_of,
)
from vwtransfer.config import Config
from vwtransfer.datasets import Dataset
from vwtransfer.models.devices import torch_device
from vwtransfer.models.suite import Suite, build
from vwtransfer.progress import terminal
from vwtransfer.study import data_loading
from vwtransfer.tasks import Task
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.words.cells import Cell, cells
from vwtransfer.words.formats import read
from vwtransfer.words.store import WordStore

MOST_LINES = 4  # words whose export is spelt out
_NOT_OF_THE_STUDY = ("action=", "word=", "images=", "target=", "-m", "--multirun")


def photos(config: Config) -> None:
    """Does what `actions.run` does, then draws sheets/<dataset>/<concept>.png.

    Raises:
        UserError: see `actions.run`.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    run(config)
    console = terminal()
    suite = build(config, torch_device(config.device))
    datasets, tasks = data_loading.opened(config), tasks_of(config, suite)
    store = WordStore(config.folder / "words")
    trained = [cell for cell in cells(config) if cell in store]
    for dataset, concept in dict.fromkeys((cell.dataset, cell.concept) for cell in trained):
        own = [cell for cell in trained if (cell.dataset, cell.concept) == (dataset, concept)]
        rows = list(_rows(config, suite, tasks, datasets[dataset], concept, own))
        path = config.folder / "sheets" / dataset / f"{concept}.png"
        draw_sheet(rows, path)
        console.print(f"picture: {path}", soft_wrap=True)
    for line in _next_steps(config, suite, trained):
        console.print(line, highlight=False, soft_wrap=True)


def _rows(
    config: Config,
    suite: Suite,
    tasks: Mapping[str, Task],
    dataset: Dataset,
    concept: str,
    words: Sequence[Cell],
) -> Iterator[Row]:
    """The photos of a concept, what its words draw, and what they find in the photos."""
    yield photos_of(dataset, concept)
    templates = {name: model.prompt_template for name, model in suite.models.items()}
    further = config.model.fidelity_prompts
    if any((config.folder / "results").glob("*.parquet")):
        frame = results.read(config.folder)
        yield from drawn_of(config.folder, frame, dataset.name, concept, templates, further)
    examples = [*dataset.held_out(concept), *dataset.training(concept)][:PER_LINE]
    images = {example.id: example.load() for example in examples}
    for cell in words:
        for target in (cell.model, *(b for a, b in config.direction if a == cell.model)):
            pictures = _found(config, suite, tasks, cell, target, images)
            if pictures:
                origin = "" if target == cell.model else f" of {cell.model}"
                what = f"{target}: <{concept}>{origin} in the photos (trained from {cell.anchor})"
                yield Row(what, pictures)


def _found(
    config: Config,
    suite: Suite,
    tasks: Mapping[str, Task],
    cell: Cell,
    target: str,
    images: Mapping[str, Image.Image],
) -> list[tuple[str, Image.Image]]:
    """Photos with what a word finds in them; none in a model that finds nothing, but draws."""
    model = suite.models[target]
    task = tasks[model.task]
    if model.task == "generation" or not hasattr(task, "apply"):
        return []
    word = read(WordStore(config.folder / "words").path(cell))
    _, vectors_KD = transfer_word(config, suite, word, target)
    with torch.no_grad():
        words_NKD = vectors_KD[None].to(model.text.device)
        prompts = model.text.encode_words(model.prompt_template, words_NKD)
    pictures = task.apply(model, prompts, images, "").pictures
    return [(name, fitted(picture)) for name, picture in pictures.items()]


def _next_steps(config: Config, suite: Suite, trained: Sequence[Cell]) -> Iterator[str]:
    """The commands that take words along."""
    store = WordStore(config.folder / "words")
    drawing = [cell for cell in trained if suite.models[cell.model].task == "generation"]
    finding = [cell for cell in trained if suite.models[cell.model].task == "detection"]
    if drawing:
        yield "for diffusers (with format=a1111: for ComfyUI and AUTOMATIC1111):"
        for cell in drawing[:MOST_LINES]:
            yield _command(config, "export", store.path(cell), cell.model)
    if finding:
        yield "to find it in other images:"
        for cell in finding[:MOST_LINES]:
            yield f"{_command(config, 'apply', store.path(cell), cell.model)} images=FOLDER"
    if len(drawing) > MOST_LINES or len(finding) > MOST_LINES:
        yield f"({len(trained)} words in all: {config.folder / 'words'})"


def _command(config: Config, action: str, word: Path, target: str) -> str:
    """What was typed, with another action."""
    if not HydraConfig.initialized():  # a script or a notebook composed the config
        typed = shlex.split(config.command)
    elif HydraConfig.get().mode == RunMode.MULTIRUN:
        typed = ["vwtransfer", *HydraConfig.get().overrides.task]
    else:
        typed = ["vwtransfer", *sys.argv[1:]]
    kept = [each for each in typed if not each.startswith(_NOT_OF_THE_STUDY)]
    return shlex.join([*kept, f"action={action}", f"word={word}", f"target={target}"])

"""action=apply: one word, used in one of the models: draws boxes, draws images, or ranks images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from vwtransfer.actions.transfer_word import chosen_model, transfer_word, word_of
from vwtransfer.config import Config
from vwtransfer.config.photo_folders import images_in, left_out
from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.datasets.images import OnDemand, examine, read_image
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import build
from vwtransfer.progress import terminal
from vwtransfer.tasks import Applied
from vwtransfer.tasks.registry import tasks_of

LONGEST_STEM = 50  # letters that an image is called by, as its picture


def apply(config: Config) -> None:
    """Uses a word in the model that `target` names, or in the only one of the chosen task.

    Raises:
        UserError: there is no such word, model or image, or the word is of another model.
    """
    word = word_of(config)
    name = chosen_model(config, "target", config.trained, list(config.model.models))
    console = terminal()
    pictures = _pictures(_images(config, console))
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    model = suite.models[name]
    task = tasks_of(config, replace(suite, models={name: model}))[model.task]
    if not hasattr(task, "apply"):
        raise UserError(f"action=apply: the task {task.name} of {name} has no way to show a word.")
    _, vectors_KD = transfer_word(config, suite, word, name)
    with torch.no_grad():
        words_NKD = vectors_KD[None].to(model.text.device)
        prompts = model.text.encode_words(model.prompt_template, words_NKD)
    applied: Applied = task.apply(model, prompts, pictures, word.name)
    _show(applied, config.folder / "applied" / name / word.name, console)


def _images(config: Config, console: Console) -> list[Path]:
    """The files that `images` names: each as given, and those in each folder that can be read."""
    found: list[Path] = []
    for path in config.images:
        if not path.exists():
            raise UserError(f"images={path}: there is no such file or folder.")
        if not path.is_dir():
            read_image(path)  # refuses what is no image
            found.append(path)
            continue
        readable, skipped = [], []
        for image in images_in(path):
            try:
                examine(image)
                readable.append(image)
            except UnusableError as error:
                skipped.append(f"skipped {image}: {error}")
        found += readable
        if not readable:
            why = f" {len(skipped)} {skipped[0]}." if skipped else ""
            raise UserError(f"images={path}: there is no image in this folder.{why}")
        for line in (*skipped, *left_out(path)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return found


def _pictures(paths: Sequence[Path]) -> Mapping[str, Image.Image]:
    """Images by their files' names, all numbered where these do not tell their pictures apart."""
    stems = [path.stem[:LONGEST_STEM] for path in paths]
    alike = len({stem.casefold() for stem in stems}) < len(stems)
    makers = {}
    for i, (stem, path) in enumerate(zip(stems, paths, strict=True), start=1):
        name = f"{i}_{stem}" if alike else stem
        makers[name + path.suffix] = partial(read_image, path)
    return OnDemand(makers)


def _show(applied: Applied, folder: Path, console: Console) -> None:
    """Prints the table, and writes the pictures."""
    table = Table(*applied.columns)
    for row in applied.rows:
        table.add_row(*row)
    console.print(table)
    for name, picture in applied.pictures.items():
        path = (folder / name).with_suffix(".png")
        write_atomically(path, lambda temporary, p=picture: p.save(temporary, format="PNG"))  # type: ignore[misc]
    if applied.pictures:
        console.print(f"pictures: {folder}", soft_wrap=True)

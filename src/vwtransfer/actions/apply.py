"""action=apply and action=export: one word, used in any of the models or given to other tools."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vwtransfer.config import Config
from vwtransfer.datasets.images import SUFFIXES, read_image
from vwtransfer.errors import UserError, nearest
from vwtransfer.files import write_atomically
from vwtransfer.models.devices import torch_device, use_threads
from vwtransfer.models.suite import Suite, build, build_part
from vwtransfer.tasks import Applied
from vwtransfer.words.formats import TEXTUAL_INVERSION, WRITERS, LoadedWord, read


def apply(config: Config) -> None:
    """Uses a word in the model of a task: draws boxes, draws images, or ranks images.

    Raises:
        UserError: there is no such word, task or image, or the word is of another model.
    """
    word = _word(config)
    (name,) = config.task if len(config.task) == 1 else (None,)
    if name is None:
        raise UserError(f"action=apply: one task is needed. {nearest('', config.model.tasks)}")
    use_threads(config.threads)
    suite = build(config, torch_device(config.device))
    task = suite.tasks[name]
    if not hasattr(task, "apply"):
        raise UserError(f"action=apply: model.{name} has no way to show a word.")
    pictures = _pictures(_images(config))
    vectors_1KD = _mapped(config, suite, word, name)[None]
    with torch.no_grad():
        text = task.text.encode_words(
            task.template, vectors_1KD.to(task.text.embedding.weight.device)
        )
    applied: Applied = task.apply(text, pictures, word.name)
    folder = config.folder / "applied" / name / word.name
    _show(applied, folder)


def export(config: Config) -> None:
    """Writes a word as other tools load it, in the space of the generation model.

    Raises:
        UserError: there is no such word, or it cannot be brought into that space.
    """
    use_threads(config.threads)
    word = _word(config)
    vectors_KD = word.vectors_KD
    if word.task != TEXTUAL_INVERSION:
        vectors_KD = _mapped(
            config, build(config, torch_device(config.device)), word, TEXTUAL_INVERSION
        )
    assert config.word is not None
    folder = config.folder / "exported" / config.format / f"{word.task}-{config.word.stem}"
    path = WRITERS[config.format](vectors_KD, word.name, folder)
    Console().print(
        f"{len(vectors_KD)} vectors of width {vectors_KD.shape[1]}: {path}", soft_wrap=True
    )


def _word(config: Config) -> LoadedWord:
    if config.word is None:
        raise UserError(f"action={config.action}: name the file of a word with word=PATH.")
    return read(config.word)


def _mapped(config: Config, suite: Suite, word: LoadedWord, name: str) -> Tensor:
    """The word's vectors [K, D] in the space of a task's model, by a transfer if need be.

    Raises:
        UserError: the suite has no model for the word, or another one than it was trained in.
    """
    for task in (word.task, name):
        if task not in suite.tasks:
            raise UserError(f"model: has no part for {task}. {nearest(task, suite.tasks)}")
    source, target = suite.tasks[word.task].text, suite.tasks[name].text
    width = word.vectors_KD.shape[1]
    if width != source.width:
        raise UserError(
            f"word={config.word}: its vectors have width {width}, and model.{word.task} reads "
            f"{source.width}. Choose the model it was trained in with model/{word.task}=NAME."
        )
    if word.model is not None and word.model != source.identity:
        raise UserError(
            f"word={config.word}: was trained in another model than model.{word.task}.checkpoint="
            f"{config.model.tasks[word.task]['checkpoint']}. Choose its own with "
            f"model/{word.task}=NAME."
        )
    if word.task == name:
        return word.vectors_KD
    # the support of these two: the other models need not be on this machine
    pair = Suite({task: suite.tasks[task] for task in (word.task, name)}, suite.support_file)
    transfer = build_part(config.transfer, "transfer")
    # no description is left out of the fit: a word is used here, and nothing is measured of it
    fitted = transfer.fit(source, target, pair.support)
    vectors_NKD: Tensor = fitted(word.vectors_KD[None])
    return vectors_NKD[0]


def _images(config: Config) -> list[Path]:
    """The files that `images` names: each as given, and those in each folder."""
    found: list[Path] = []
    for path in config.images:
        if not path.exists():
            raise UserError(f"images={path}: there is no such file or folder.")
        inside = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise UserError(f"images={path}: there is no image in this folder.")
        found += inside
    return found


def _pictures(paths: Sequence[Path]) -> dict[str, Image.Image]:
    """Images by their files' names, numbered where these are not enough to tell them apart."""
    often = Counter(path.stem for path in paths)
    return {
        path.name if often[path.stem] == 1 else f"{i}_{path.name}": read_image(path)
        for i, path in enumerate(paths, start=1)
    }


def _show(applied: Applied, folder: Path) -> None:
    """Prints the table, and writes the pictures."""
    table = Table(*applied.columns)
    for row in applied.rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for name, picture in applied.pictures.items():
        path = (folder / name).with_suffix(".png")
        write_atomically(path, lambda temporary, p=picture: p.save(temporary, format="PNG"))  # type: ignore[misc]
    if applied.pictures:
        console.print(f"pictures: {folder}", soft_wrap=True)

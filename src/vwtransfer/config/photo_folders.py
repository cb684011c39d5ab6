"""What a folder of photos holds: concepts, their names in prompts, and anchors.

`conf/dataset/folder.yaml` asks for it while the config is composed.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image, ImageFile

from vwtransfer.errors import UserError

_SYSTEMS = ("@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX")
"""Folders that systems add: thumbnails, and what was deleted."""

_SAY_NOTHING = frozenset(
    (
        *("my", "our", "the", "new", "photo", "photos", "picture", "pictures", "pics", "image"),
        *("images", "img", "imgs", "folder", "data", "dataset", "train", "training"),
    )
)
"""Words that name folders and not what is in them."""


@cache
def suffixes() -> frozenset[str]:
    """Of the names of images: what PIL opens, by its list or in a build that can.

    PostScript is none of them: to open it is to run it. Nor are videos, and what PIL only knows
    the name of.
    """
    known = Image.registered_extensions().items()
    opened = {suffix for suffix, kind in known if kind in Image.OPEN and not _is_stub(kind)}
    no_images = {".eps", ".ps", ".mpg", ".mpeg"}
    return frozenset(opened - no_images | {".mpo", ".heic", ".heif", ".hif", ".avif"})


def _is_stub(kind: str) -> bool:
    reader = Image.OPEN[kind][0]
    return isinstance(reader, type) and issubclass(reader, ImageFile.StubImageFile)


def concepts_in(root: Path, anchor: Any = "all") -> dict[str, str]:
    """Concept -> its name in prompts, for every folder of images in `root`, or `root` itself.

    A single folder whose name says nothing of what is shown (`my_photos`) goes by the anchor.

    Args:
        root: the folder.
        anchor: the config's `anchor`.

    Raises:
        UserError: there are no images, or they lie both in `root` and in its folders.
    """
    folders = image_folders(root)
    if not folders:
        raise UserError(
            f"{root}: there are no images here, nor folders of images."
            + "".join(f" {line}." for line in left_out(root))
        )
    own = concept_of(root.resolve())
    refuse_mixed(
        root,
        folders,
        f"If all show one concept, write 'dataset.folder.concepts={{{own}: {prompt_name(own)}}}'; "
        "else move",
    )
    names = {concept: prompt_name(concept) for concept in folders}
    chosen = isinstance(anchor, str) and anchor not in ("all", "paired")
    if chosen and len(names) == 1 and not telling(*names.values()):
        return dict.fromkeys(names, anchor)
    return names


def telling(name: str) -> list[str]:
    """The words of a name that may say what is shown."""
    spoken = [word for word in name.split() if any(letter.isalpha() for letter in word)]
    return [word for word in spoken if word.lower() not in _SAY_NOTHING]


def refuse_mixed(root: Path, folders: Mapping[str, Path], remedy: str = "Move") -> None:
    """Refuses photos that lie beside folders of photos: whose are they?

    Raises:
        UserError: with both counts and `remedy`.
    """
    loose = 0 if root in folders.values() else len(images_in(root, nested=False))
    if loose:
        inner = sum(len(images_in(folder)) for folder in folders.values())
        raise UserError(
            f"{root}: {loose} images lie in it and {inner} in its folders ({', '.join(folders)}). "
            f"{remedy} the images of each concept into a folder of its own."
        )


def anchors_for(concepts: Mapping[str, str], chosen: Any) -> list[str]:
    """The anchors of a folder: the chosen words, or the concepts' own names.

    Args:
        concepts: concept -> its name in prompts.
        chosen: the config's `anchor`: a word, a list of words, "all" or "paired".

    Raises:
        UserError: nothing is chosen and a name is more than a word, or says nothing.
    """
    if chosen not in ("all", "paired"):
        one = isinstance(chosen, str | int | float)
        return [str(chosen)] if one else [str(each) for each in chosen]
    for name in concepts.values():
        if len(name.split()) != 1 or not telling(name):
            why = "says nothing of what is shown" if not telling(name) else "is not one word"
            raise UserError(
                f"anchor={chosen}: {name!r} {why}, so an anchor must be given: a word of the "
                f"models' vocabulary that is near in meaning, as in {_as_in(concepts)}."
            )
    return list(concepts.values() if chosen == "paired" else dict.fromkeys(concepts.values()))


def _as_in(concepts: Mapping[str, str]) -> str:
    """What to type, with the last word of each name: of "red mug" it is a mug."""
    words = [(telling(name) or ["dog"])[-1] for name in concepts.values()]
    if len(words) == 1:
        return f"anchor={words[0]}"
    own = f"'dataset.folder.anchors=[{','.join(words)}]' anchor=paired"
    return f"{own} (of {', '.join(concepts)}, in this order)"


def prompt_name(folder: str) -> str:
    """A folder's name as words: underscores are spaces, a trailing number is dropped.

    So is the number of repeats in front, which trainers of LoRA read there: 30_cat is a cat.
    """
    words = " ".join(folder.replace("_", " ").split())
    named = re.sub(r"^\d+_+(?=[^\W\d])", "", folder).replace("_", " ")
    return re.sub(r"[\s-]*\d+$", "", " ".join(named.split())) or words


def image_folders(root: Path, only: Collection[str] | None = None) -> dict[str, Path]:
    """The folders of images, under names that can be file names.

    What lies in folders inside them is theirs too. If there are none, `root` itself.

    Args:
        root: where they are.
        only: concepts to look for; None for all.

    Raises:
        UserError: there is no such folder, or two read as the same concept.
    """
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder.")
    found: dict[str, Path] = {}
    for path in inner_folders(root):
        if (only is None or concept_of(path) in only) and any(_images(path)):
            other = found.setdefault(concept_of(path), path)
            if other != path:
                raise UserError(f"{path}: reads as the same concept as {other}; rename one.")
    if not found and images_in(root, nested=False):
        found = {concept_of(root.resolve()): root}
    return found


def inner_folders(root: Path) -> list[Path]:
    """The folders in it that are neither hidden nor a system's, sorted.

    Raises:
        UserError: it cannot be read.
    """
    return [path for path in entries(root) if path.is_dir() and not _is_hidden(path, root)]


def entries(folder: Path) -> list[Path]:
    """All that lies in it, sorted.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        return _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}).") from error


def concept_of(folder: Path) -> str:
    """The folder's name as a concept, which can be a file's name."""
    return re.sub(r"[^\w.+-]+", "_", folder.name).strip("_.+-") or "concept"


def images_in(folder: Path, nested: bool = True) -> list[Path]:
    """The files of a folder, and of the folders in it, that may be images, sorted."""
    return sorted(path for path in _images(folder) if nested or path.parent == folder)


def left_out(folder: Path) -> list[str]:
    """What `images_in` does not list, counted by reason, a line for each."""
    hidden, others = [], []
    for path in _files(folder):
        if _is_hidden(path, folder):
            hidden += [path] if path.suffix.lower() in suffixes() else []
        elif path.suffix.lower() not in suffixes():
            others.append(path)
    reasons = {"hidden, or in a system's folder": hidden, "without an image's suffix": others}
    return [
        f"{folder.name}: left out {len(found)} {reason}, such as {min(found).relative_to(folder)}"
        for reason, found in reasons.items()
        if found
    ]


def _images(folder: Path) -> Iterator[Path]:
    for path in _files(folder):
        if path.suffix.lower() in suffixes() and not _is_hidden(path, folder):
            yield path


def _is_hidden(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return any(part[0] == "." or part in _SYSTEMS for part in parts)


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; a linked folder is followed once."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True, onerror=_refuse):
        seen.add(Path(place).resolve())
        inner[:] = sorted(each for each in inner if (Path(place) / each).resolve() not in seen)
        yield from (Path(place) / name for name in names)

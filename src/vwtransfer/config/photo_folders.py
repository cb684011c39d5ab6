"""What a folder of photos holds: concepts, their names in prompts, and anchors.

`conf/dataset/folder.yaml` asks for it while the config is composed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vwtransfer.errors import UserError

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif"),  # whether these open depends on how PIL was built
)


def concepts_in(root: Path) -> dict[str, str]:
    """Concept -> its name in prompts, for every folder of images in `root`, or `root` itself.

    Raises:
        UserError: there are no images.
    """
    found = {concept: prompt_name(concept) for concept in image_folders(root)}
    if not found:
        raise UserError(f"{root}: there are no images here, nor folders of images.")
    return found


def anchors_for(concepts: Mapping[str, str], chosen: Any) -> list[str]:
    """The anchors of a folder: the chosen words, or the concepts' own names.

    Args:
        concepts: concept -> its name in prompts.
        chosen: the config's `anchor`: a word, a list of words, "all" or "paired".

    Raises:
        UserError: nothing is chosen and a name is more than a word.
    """
    if chosen not in ("all", "paired"):
        one = isinstance(chosen, str | int | float)
        return [str(chosen)] if one else [str(each) for each in chosen]
    for name in concepts.values():
        if len(name.split()) != 1:
            raise UserError(
                f"anchor={chosen}: {name!r} is not one word, so an anchor must be given: a word "
                "of the models' vocabulary that is near in meaning, as in anchor=dog."
            )
    return list(concepts.values() if chosen == "paired" else dict.fromkeys(concepts.values()))


def prompt_name(folder: str) -> str:
    """A folder's name as words: underscores are spaces, a trailing number is dropped."""
    words = " ".join(folder.replace("_", " ").split())
    return re.sub(r"\s*\d+$", "", words) or words


def image_folders(root: Path) -> dict[str, Path]:
    """The folders of images, under names that can be file names."""
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder.")
    inner = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    found: dict[str, Path] = {}
    for path in inner:
        if images_in(path):
            other = found.setdefault(_concept(path), path)
            if other != path:
                raise UserError(f"{path}: reads as the same concept as {other}; rename one.")
    if not found and images_in(root):
        found = {_concept(root.resolve()): root}
    return found


def _concept(folder: Path) -> str:
    return re.sub(r"[^\w.+-]+", "_", folder.name).strip("_.+-") or "concept"


def images_in(folder: Path) -> list[Path]:
    """The files of a folder that may be images, sorted."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."
    )

"""What each word of a study was determined by; no checkpoint is opened for it."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hydra.utils import get_class

from vwtransfer.config import Config
from vwtransfer.config.identity import (
    NOT_THE_TRANSFER,
    PACKAGE,
    dataset_part,
    digest,
    model_part,
    portable,
    trainer_part,
    without,
)
from vwtransfer.datasets import BOXES, NEGATIVES
from vwtransfer.datasets.manifest import Manifest, read_manifest
from vwtransfer.words.cells import Cell

MANIFESTS = "manifests"
RECIPE = 1
"""Of training; it rises when the same config trains other words."""
IMAGE_READING = 1
"""Of what pixels an image file is read as; it rises when that changes."""
PROFILE_READING = 1
"""The same of images that are converted from a colour profile; before it, they were not."""

_ONLY_EVALUATION = (
    "denoising_steps",
    "guidance_scale",
    "true_guidance_scale",
    "images_per_word",
    "max_boxes",
)


class Fingerprints:
    """The fingerprints of a study's words.

    The images are those of the manifest in the study's folder; where it has none yet, of the one
    that is kept of it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, cell: Cell) -> str:
        """The fingerprint of a word."""
        return fingerprint(self.config, self._values, cell, self._images(cell))

    def _images(self, cell: Cell) -> Any:
        manifest = self._manifests[cell.dataset]
        if manifest is None:
            # what names the images of a dataset that is drawn, or opened by a user's own class
            drawn = dataset_part(self._values["dataset"][cell.dataset])
            return without(drawn, ("held_out_images",))
        trains_with = self._trains_with[cell.model]
        concepts = manifest.concepts if NEGATIVES in trains_with else [cell.concept]
        return {
            concept: [
                [
                    photo.sha256,
                    *([{"profile_reading": PROFILE_READING}] if photo.profile else ()),
                    *(map(asdict, photo.boxes) if BOXES in trains_with else ()),
                ]
                for photo in manifest.of(concept, "training")
            ]
            for concept in concepts
        }

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        """The config as plain values; a study has thousands of words."""
        return portable(self.config.composed)

    @cached_property
    def _manifests(self) -> Mapping[str, Manifest | None]:
        config = self.config
        places = (config.folder, config.kept / config.name)
        found: dict[str, Manifest | None] = {}
        for name in config.dataset:
            files = [place / MANIFESTS / f"{name}.json" for place in places]
            there = [path for path in files if path.is_file()]
            found[name] = read_manifest(there[0]) if there else None
        return found

    @cached_property
    def _trains_with(self) -> Mapping[str, tuple[str, ...]]:
        config = self.config
        names = [*config.trained, *filter(None, [config.trainer.joint_model])]
        return {
            name: getattr(get_class(config.model.models[name]["_target_"]), "trains_with", ())
            for name in names
        }


def fingerprint(config: Config, values: Mapping[str, Any], cell: Cell, images: Any) -> str:
    """A hash of everything that determines a trained word, and of nothing else.

    Two words with the same hash are the same word (up to rounding), whatever else their studies
    do. No checkpoint is opened: of its contents only the name counts here, and the hash of its
    embedding table is written into the word (`words.store`).

    Args:
        config: of the study.
        values: `portable` of what it was composed of.
        cell: the word.
        images: what names the images that its training reads, as plain values.
    """
    off_subspace = bool(config.trainer.off_subspace_weight)
    radius = math.isfinite(cell.delta)
    through = {}
    other = config.trainer.joint_model
    if other not in (None, cell.model):
        exclude = {"exclude": config.transfer.exclude}
        transfer = without(values["transfer"], NOT_THE_TRANSFER) | exclude
        through = {"jointly": [_trained_model(values["model"][other], True), transfer]}
    return digest(
        {
            **through,
            "word": cell.stream(config.model.task_of(cell.model)),
            "model": _trained_model(values["model"][cell.model], radius or off_subspace),
            "images": images,
            "trainer": trainer_part(values["trainer"]),
            "versions": {"recipe": RECIPE, "image_reading": IMAGE_READING},
        }
    )


def _trained_model(node: Mapping[str, Any], with_support: bool) -> dict[str, Any]:
    """What of a model's keys training reads."""
    kept = model_part(node, (*_ONLY_EVALUATION, "support", "_target_"))
    kept["class"] = node["_target_"].rpartition(".")[2]
    if with_support:
        kept["support"] = _content(node.get("support"))
    return kept


@cache
def _content(path: str | None) -> str | None:
    """A hash of what a list of tokens holds, wherever it lies."""
    if path is None:
        return None
    text = Path(path.replace("<vwtransfer>", PACKAGE)).read_text(encoding="utf-8")
    return digest(text.split())

"""Chooses images by seed: so many to train on, others to measure on, and none that is broken."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates
from vwtransfer.datasets.bad_data import Skipped, UnusableError, path_inside
from vwtransfer.datasets.boxes import fitted, turned
from vwtransfer.datasets.images import Stored, examine
from vwtransfer.datasets.manifest import FORMAT, LabelledBox, Manifest, Photo, Split
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError

FEWEST = 2  # training images


@dataclass(frozen=True)
class DatasetSpec:
    """What every dataset says of itself; see `config.DatasetConfig`."""

    name: str
    concepts: Mapping[str, str]
    anchors: Sequence[str]
    training_images: int
    held_out_images: int
    seed: int


def choose(wanted: DatasetSpec, folders: Mapping[str, Path], candidates: Candidates) -> Manifest:
    """Goes through each concept's images in an order fixed by seed and file names.

    What cannot be used is skipped, and the next image takes its place. Where there are no splits,
    a quarter is held out, at least one image, and all beyond the training images; of a single
    folder only those.

    Args:
        wanted: the dataset's concepts and sizes.
        folders: where the files are.
        candidates: all that there is to choose from.

    Raises:
        UserError: a concept has no image or too few.
    """
    concepts = {**wanted.concepts, **candidates.others}
    state = _Choice(wanted, folders, candidates)
    images: list[Photo] = []
    if candidates.held_out is None:
        for concept in concepts:
            images += state.split(concept, alone=len(concepts) == 1)
    else:
        for concept in concepts:
            pool = candidates.training.get(concept, [])
            images += state.take(concept, "training", pool, wanted.training_images)
        for concept in concepts:
            pool = candidates.held_out.get(concept, [])
            images += state.take(concept, "held_out", pool, wanted.held_out_images)
    noted = list(candidates.noted)
    for concept in concepts:
        for split in ("training", "held_out"):
            count = sum((each.concept, each.split) == (concept, split) for each in images)
            noted += state.shortage(concept, split, count)
    return Manifest(
        FORMAT, wanted.name, concepts, tuple(images), tuple(noted), tuple(state.skipped)
    )


class _Choice:
    """What was taken and what was skipped so far."""

    def __init__(
        self, wanted: DatasetSpec, folders: Mapping[str, Path], candidates: Candidates
    ) -> None:
        self.wanted = wanted
        self.folders = folders
        self.candidates = candidates
        self.skipped = list(candidates.skipped)
        self.taken: dict[str, str] = {}  # sha256 -> file

    def take(
        self, concept: str, split: Split, pool: Sequence[Candidate], count: int
    ) -> list[Photo]:
        """The first `count` images of the pool, in its order by seed, that can be used."""
        found: list[Photo] = []
        for candidate in sorted(pool, key=lambda each: self._rank(concept, each)):
            if len(found) == count:
                break
            try:
                photo = self._photo(candidate, concept, split)
            except UnusableError as error:
                self.skipped.append(Skipped(candidate.file, str(error)))
            else:
                self.taken[photo.sha256] = photo.file
                found.append(photo)
        return found

    def split(self, concept: str, alone: bool) -> list[Photo]:
        """Training and held-out images from one pool."""
        wanted = self.wanted
        most = wanted.training_images + wanted.held_out_images
        found = self.take(concept, "training", self.candidates.training.get(concept, []), most)
        beyond = len(found) - wanted.training_images
        held = max(beyond, 0 if alone else max(1, len(found) // 4))
        training = len(found) - min(held, wanted.held_out_images)
        return found[:training] + [replace(each, split="held_out") for each in found[training:]]

    def shortage(self, concept: str, split: str, count: int) -> list[str]:
        """A line where there are fewer images than wanted.

        Raises:
            UserError: there are too few.
        """
        wanted, training = self.wanted, split == "training"
        asked = wanted.training_images if training else wanted.held_out_images
        has_splits = self.candidates.held_out is not None
        if count < (FEWEST if training else int(has_splits)):
            pool = self.candidates.training if training else self.candidates.held_out
            there = len((pool or {}).get(concept, []))
            needed = f"at least {FEWEST} are needed to train on" if training else "none is usable"
            rest = "" if has_splits else " and one more to measure on"
            raise UserError(
                f"dataset.{wanted.name}: {concept} has {there} {split.replace('_', '-')} "
                f"image{'' if there == 1 else 's'}, {needed}{rest if training else ''}."
                f"{self._skips(concept)}"
            )
        if count < asked:
            return [f"{concept}: {count} {split.replace('_', '-')} images instead of {asked}"]
        return []

    def _skips(self, concept: str) -> str:
        pools = (self.candidates.training, self.candidates.held_out or {})
        files = {each.file for pool in pools for each in pool.get(concept, [])}
        skipped = [each for each in self.skipped if each.file in files]
        if not skipped:
            return ""
        return f" Skipped: {len(skipped)}, such as {skipped[0].file}: {skipped[0].reason}."

    def _rank(self, concept: str, candidate: Candidate) -> str:
        """A random order that no other image changes."""
        names = (self.wanted.seed, self.wanted.name, concept, candidate.folder, candidate.file)
        return hashlib.sha256("\0".join(map(str, names)).encode()).hexdigest()

    def _photo(self, candidate: Candidate, concept: str, split: Split) -> Photo:
        path = path_inside(self.folders[candidate.folder], candidate.file)
        found = candidate.annotation
        annotation = read_xml(found) if isinstance(found, Path) else found
        stored = examine(path)
        if stored.sha256 in self.taken:
            raise UnusableError(f"the same image as {self.taken[stored.sha256]}")
        boxes: tuple[LabelledBox, ...] = ()
        verified = True
        if annotation is not None:
            boxes = self._boxes(annotation, stored)
            labels = self.candidates.labels
            verified = all(each.verified for each in annotation.objects if each.name in labels)
            if not any(each.concept == concept and not each.ignored for each in boxes):
                raise UnusableError(f"no box of {concept} is annotated")
        return Photo(
            candidate.file, candidate.folder, stored.sha256, concept, split, verified, boxes
        )

    def _boxes(self, annotation: Annotation, stored: Stored) -> tuple[LabelledBox, ...]:
        labels = self.candidates.labels
        upright = _is_upright(annotation, stored, self.candidates.displayed)
        frame = stored.upright_size if upright else stored.size
        orientation = 1 if upright else stored.orientation
        return tuple(
            LabelledBox(
                labels[each.name],
                turned(fitted(each.box, frame), frame, orientation),
                each.ignored,
            )
            for each in annotation.objects
            if each.name in labels
        )


def _is_upright(annotation: Annotation, stored: Stored, displayed: bool) -> bool:
    """Whether boxes are of the image as a viewer turns it, rather than of the stored pixels."""
    if annotation.size is None:
        return displayed
    fits_stored = annotation.size == stored.size
    fits_upright = annotation.size == stored.upright_size
    if not fits_stored and not fits_upright:
        stated = " x ".join(map(str, annotation.size))
        real = " x ".join(map(str, stored.size))
        raise UnusableError(f"annotated at {stated} pixels, but the image has {real}")
    return displayed if fits_stored and fits_upright else fits_upright

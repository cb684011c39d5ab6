"""Chooses images by seed: so many to train on, others to measure on, and none that is broken."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vwtransfer.datasets import Box
from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates
from vwtransfer.datasets.bad_data import Skipped, UnusableError, escaped, path_inside
from vwtransfer.datasets.boxes import Size, fitted, turned
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
    noted = [escaped(line) for line in candidates.noted]
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
        self.upright = _are_upright(wanted, folders, candidates)

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
            files = [each.file for each in (pool or {}).get(concept, [])]
            usable = len(set(files) & set(self.taken.values()))
            needed = f"at least {FEWEST} are needed to train on" if training else "none is usable"
            rest = "" if has_splits else " and one more to measure on"
            raise UserError(
                f"dataset.{wanted.name}: {concept} has {len(files)} {split.replace('_', '-')} "
                f"image{'' if len(files) == 1 else 's'}"
                f"{f', {usable} of them usable' if training and usable < len(files) else ''}, "
                f"{needed}{rest if training else ''}.{self._skips(files)}"
            )
        if count < asked:
            return [f"{concept}: {count} {split.replace('_', '-')} images instead of {asked}"]
        return []

    def _skips(self, files: Sequence[str]) -> str:
        """What was skipped of these files, and before it was known what of."""
        named = set(map(escaped, files))
        own = [each for each in self.skipped if each.file in named]
        skipped = own + [each for each in self.candidates.skipped if each not in own]
        if not skipped:
            return ""
        return f" Skipped: {len(skipped)}, such as {skipped[0].file}: {skipped[0].reason}."

    def _rank(self, concept: str, candidate: Candidate) -> str:
        """A random order that no other image changes."""
        names = (self.wanted.seed, self.wanted.name, concept, candidate.folder, candidate.file)
        return hashlib.sha256("\0".join(map(str, names)).encode(errors="surrogatepass")).hexdigest()

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
            if annotation.lacking:
                raise UnusableError(annotation.lacking)
            boxes = self._boxes(annotation, stored)
            labels = self.candidates.labels
            verified = all(each.verified for each in annotation.objects if each.name in labels)
            boxless = [why for each, why in annotation.boxless if each.name in labels]
            if not any(each.concept == concept and not each.ignored for each in boxes):
                raise UnusableError(
                    f"no box of {concept} is annotated{_instead(annotation, boxless)}"
                )
            for why in boxless:
                self.skipped.append(Skipped(candidate.file, f"an object of it is left out: {why}"))
        return Photo(
            candidate.file,
            candidate.folder,
            stored.sha256,
            concept,
            split,
            verified,
            boxes,
            stored.profile,
        )

    def _boxes(self, annotation: Annotation, stored: Stored) -> tuple[LabelledBox, ...]:
        labels = self.candidates.labels
        _refuse_fractions(annotation)
        upright = _is_upright(annotation, stored, self.candidates.displayed) or self.upright
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


def _instead(annotation: Annotation, boxless: Sequence[str]) -> str:
    """What is annotated where the concept is not."""
    if boxless:
        return f", but {boxless[0]}"
    marked = (" (crowd or difficult)" if each.ignored else "" for each in annotation.objects)
    names = (each.name + mark for each, mark in zip(annotation.objects, marked, strict=True))
    others = ", ".join(dict.fromkeys(names))
    return f", but of {others}" if others else ""


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


def _refuse_fractions(annotation: Annotation) -> None:
    """Refuses boxes that some exporters state in fractions of the image."""
    if annotation.objects and all(max(each.box) <= 1 for each in annotation.objects):
        shown = ", ".join(f"{value:g}" for value in annotation.objects[0].box)
        raise UnusableError(
            f"box ({shown}) is within a pixel: export the boxes in pixels, not in fractions"
        )


def _are_upright(wanted: DatasetSpec, folders: Mapping[str, Path], candidates: Candidates) -> bool:
    """Whether the boxes are of upright photos, although the stored size is stated beside them.

    So some exporters write. Where some of the boxes fit nothing else, all are read so.

    Raises:
        UserError: others fit nothing but the stored photo.
    """
    pools = (candidates.training, candidates.held_out or {})
    every = [each for pool in pools for same in pool.values() for each in same]
    upright = next(_turned_photos(every, folders, 1), None)
    stored = next(_turned_photos(every, folders, -1), None) if upright else None
    if upright and stored:
        raise UserError(
            f"dataset.{wanted.name}: the boxes of {upright} only fit the upright photo, those of "
            f"{stored} only the stored one. State the width and height that each has boxes of."
        )
    return upright is not None


def _turned_photos(
    candidates: Sequence[Candidate], folders: Mapping[str, Path], way: int
) -> Iterator[str]:
    """Turned photos, annotated at their stored size, of which a box only fits one frame.

    Args:
        candidates: all images.
        folders: where they are.
        way: 1 for a box that only fits the upright photo, -1 for one that only fits the stored.
    """
    for each in candidates:
        found = each.annotation
        if not isinstance(found, Annotation) or found.size is None:
            continue
        frames = (found.size, found.size[::-1])[::way]
        if any(
            not _fits(one.box, frames[0]) and _fits(one.box, frames[1]) for one in found.objects
        ):
            try:
                stored = examine(path_inside(folders[each.folder], each.file))
            except UnusableError:
                continue
            if stored.orientation >= 5 and stored.size == found.size:
                yield each.file


def _fits(box: Box, size: Size) -> bool:
    try:
        fitted(box, size)
    except UnusableError:
        return False
    return True

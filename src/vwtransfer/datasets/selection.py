"""Chooses images by seed: so many to train on, others to measure on, and none that is broken."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates
from vwtransfer.datasets.bad_data import Skipped, UnusableError, escaped, path_inside
from vwtransfer.datasets.boxes import fitted, turned
from vwtransfer.datasets.frames import are_upright, is_upright, of_one_frame
from vwtransfer.datasets.images import Stored, examine
from vwtransfer.datasets.manifest import FORMAT, LabelledBox, Manifest, Photo, Split
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError

FEWEST = 2  # training images


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
    state = _Choice(wanted, folders, candidates)
    concepts, images = state.concepts, state.images()
    noted = [escaped(line) for line in candidates.noted]
    for concept in concepts:
        for split in ("training", "held_out"):
            count = sum((each.concept, each.split) == (concept, split) for each in images)
            noted += state.shortage(concept, split, count)
    return Manifest(
        FORMAT, wanted.name, concepts, tuple(images), tuple(noted), tuple(state.skipped)
    )


def absent(
    wanted: DatasetSpec,
    folders: Mapping[str, Path],
    candidates: Candidates,
    given_up: Collection[str] = (),
) -> list[str]:
    """The files that `choose` looks at where all are there, and that are not there.

    Whoever brings them and asks again, until there are none, has what `choose` takes of a full
    copy, without the rest of it.

    Args:
        wanted: the dataset's concepts and sizes.
        folders: where the files are.
        candidates: all that there is to choose from.
        given_up: files that cannot be had; the next ones take their places.
    """
    state = _Foresight(wanted, folders, candidates, given_up)
    if not state.missing:  # else it is not known yet how boxes are read
        state.images()
    return list(state.missing)


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
        self.concepts = {**wanted.concepts, **candidates.others}
        self.upright = are_upright(wanted.name, folders, candidates)

    def images(self) -> list[Photo]:
        """All that are chosen, in their order."""
        wanted, held_out = self.wanted, self.candidates.held_out
        found: list[Photo] = []
        if held_out is None:
            for concept in self.concepts:
                found += self.split(concept, alone=len(self.concepts) == 1)
            return found
        for concept in self.concepts:
            pool = self.candidates.training.get(concept, [])
            found += self.take(concept, "training", pool, wanted.training_images)
        for concept in self.concepts:
            pool = held_out.get(concept, [])
            found += self.take(concept, "held_out", pool, wanted.held_out_images)
        return found

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
        upright = is_upright(annotation, stored, self.candidates.displayed) or self.upright
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


class _Foresight(_Choice):
    """A choice in which a file that is not there counts as one that can be used.

    Attributes:
        missing: those files, in the order they were met.
    """

    def __init__(
        self,
        wanted: DatasetSpec,
        folders: Mapping[str, Path],
        candidates: Candidates,
        given_up: Collection[str],
    ) -> None:
        self.given_up = given_up
        super().__init__(wanted, folders, candidates)
        deciding = (each for way in (1, -1) for each in of_one_frame(candidates, way))
        self.missing = {each.file: True for each in deciding if self._is_missing(each)}

    def _photo(self, candidate: Candidate, concept: str, split: Split) -> Photo:
        if not self._is_missing(candidate):
            return super()._photo(candidate, concept, split)
        self.missing[candidate.file] = True
        return Photo(candidate.file, candidate.folder, candidate.file, concept, split, True, ())

    def _is_missing(self, candidate: Candidate) -> bool:
        try:
            path = path_inside(self.folders[candidate.folder], candidate.file)
        except UnusableError:  # nor is it looked for
            return False
        return candidate.file not in self.given_up and not path.exists()


def _instead(annotation: Annotation, boxless: Sequence[str]) -> str:
    """What is annotated where the concept is not."""
    if boxless:
        return f", but {boxless[0]}"
    marked = (" (crowd or difficult)" if each.ignored else "" for each in annotation.objects)
    names = (each.name + mark for each, mark in zip(annotation.objects, marked, strict=True))
    others = ", ".join(dict.fromkeys(names))
    return f", but of {others}" if others else ""


def _refuse_fractions(annotation: Annotation) -> None:
    """Refuses boxes that some exporters state in fractions of the image."""
    if annotation.objects and all(max(each.box) <= 1 for each in annotation.objects):
        shown = ", ".join(f"{value:g}" for value in annotation.objects[0].box)
        raise UnusableError(
            f"box ({shown}) is within a pixel: export the boxes in pixels, not in fractions"
        )

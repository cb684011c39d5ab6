"""A dataset of image files: chosen by seed, or as a manifest says."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.photo_folders import images_in
from vwtransfer.datasets import BOXES, HELD_OUT, NAMES, NEGATIVES, Box, DatasetNotes, Example
from vwtransfer.datasets.annotation import Candidates
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.boxes import fitted
from vwtransfer.datasets.images import examine, read_image, sha256
from vwtransfer.datasets.manifest import Manifest, Photo, read_manifest
from vwtransfer.datasets.selection import choose
from vwtransfer.errors import UserError

MOST_HASHED = 1000  # files that a missing image is looked for among
_ANEW = "Put the image back as it was and under its name, or choose anew in another study: name=..."
_log = logging.getLogger(__name__)


class ImageFileDataset:
    """Fills the contract of a dataset from files; the loaders beside this file find them.

    Args:
        wanted: concepts and sizes.
        folders: where the files are: "root", and "negatives" if there is such a folder.
        candidates: looks for images to choose from; not called if there is a manifest.
        manifest: file of a former choice.
        allow_unverified: whether boxes that nobody looked at may be used.
        also: what the concepts go by beside their names.

    Attributes:
        manifest: what was chosen.
        descriptions: what no transfer may be fitted on.
        remarks: what was short, skipped or is lacking.

    Raises:
        UserError: the folder or a file is missing, an image is not the manifest's, or a concept has
            too few images.
    """

    def __init__(
        self,
        wanted: DatasetSpec,
        folders: Mapping[str, Path],
        candidates: Callable[[], Candidates],
        manifest: str | None,
        allow_unverified: bool = True,
        also: Iterable[str] = (),
    ) -> None:
        self.name = wanted.name
        self.anchors = wanted.anchors
        self._folders = folders
        for key, folder in folders.items():
            if not folder.is_dir():
                raise UserError(f"dataset.{self.name}.{key}={folder}: there is no such folder.")
        if manifest is None:
            self.manifest = choose(wanted, folders, candidates())
        else:
            self.manifest = _checked(read_manifest(Path(manifest)), manifest, wanted, folders)
        if not allow_unverified:
            _refuse_unverified(self.manifest)
        self.concepts: Mapping[str, str] = self.manifest.concepts
        self.descriptions = sorted({*self.concepts.values(), *also})
        self.remarks = DatasetNotes(
            _lacks(self.manifest, wanted), self.manifest.noted, self.manifest.skipped
        )
        for line in self.remarks.noted:
            _log.debug("%s: %s", self.name, line)
        for skipped in self.remarks.skipped:
            _log.debug("%s: skipped %s: %s", self.name, skipped.file, skipped.reason)

    def training(self, concept: str) -> list[Example]:
        """The images a word for `concept` is trained on."""
        return [self._example(photo) for photo in self.manifest.of(concept, "training")]

    def held_out(self, concept: str) -> list[Example]:
        """The images chosen for `concept` that metrics are measured on."""
        return [self._example(photo) for photo in self.manifest.of(concept, "held_out")]

    def _example(self, photo: Photo) -> Example:
        targets = [each for each in photo.boxes if not each.ignored]
        ignored = [each for each in photo.boxes if each.ignored]
        return Example(
            id=photo.file if photo.folder == "root" else f"{photo.folder}/{photo.file}",
            concept=photo.concept,
            load=partial(
                read_image, self._folders[photo.folder] / photo.file, photo.profile is not None
            ),
            boxes=tuple(_four(each.box) for each in targets),
            labels=tuple(each.concept for each in targets),
            ignored=tuple(_four(each.box) for each in ignored),
            ignored_labels=tuple(each.concept for each in ignored),
        )


def _four(box: tuple[float, ...]) -> Box:
    x0, y0, x1, y1 = box
    return (x0, y0, x1, y1)


def _checked(
    manifest: Manifest, path: str, wanted: DatasetSpec, folders: Mapping[str, Path]
) -> Manifest:
    """The manifest, once every image in it was found to be the one that was chosen."""
    if manifest.dataset != wanted.name:
        raise UserError(f"{path}: is the manifest of {manifest.dataset}, not of {wanted.name}.")
    for concept in wanted.concepts:
        if len(manifest.of(concept, "training")) < 2:
            raise UserError(f"{path}: has fewer than 2 training images of {concept}.")
    for photo in manifest.images:
        if photo.folder not in folders:
            raise UserError(
                f"{path}: {photo.file} is in another folder; give it with "
                f"dataset.{wanted.name}.{photo.folder}."
            )
        try:
            stored = examine(path_inside(folders[photo.folder], photo.file))
            for each in photo.boxes:
                fitted(_four(each.box), stored.upright_size)
        except UnusableError as error:
            now = _renamed(folders[photo.folder] / photo.file, photo.sha256)
            raise UserError(f"{path}: {photo.file}: {error}.{now} {_ANEW}") from error
        if stored.sha256 != photo.sha256:
            raise UserError(
                f"{path}: {folders[photo.folder] / photo.file} is not the image that was chosen: "
                f"its sha256 is {stored.sha256[:12]}..., the manifest says {photo.sha256[:12]}... "
                f"{_ANEW}"
            )
    return manifest


def _renamed(place: Path, wanted: str) -> str:
    """What the image of this hash is called that was once at `place`, if it lies there still."""
    if place.exists() or not place.parent.is_dir():
        return ""
    for other in images_in(place.parent, nested=False)[:MOST_HASHED]:
        with suppress(UnusableError):
            if sha256(other) == wanted:
                return f" It is called {other.name} now."
    return ""


def _refuse_unverified(manifest: Manifest) -> None:
    waiting = [photo for photo in manifest.images if not photo.verified]
    if waiting:
        name = manifest.dataset
        raise UserError(
            f"dataset.{name}: nobody has verified the boxes of {len(waiting)} of "
            f"{len(manifest.images)} images, such as {waiting[0].file}. Look at them, correct them "
            f'and set "verified": true in dataset.{name}.boxes, or accept them with '
            f"dataset.{name}.allow_unverified=true."
        )


def alike(concepts: Mapping[str, str], wanted: DatasetSpec) -> dict[str, str]:
    """What is lacking where names in prompts do not tell a trained concept from another.

    Args:
        concepts: concept -> its name, with those that no word is trained for.
        wanted: those that words are trained for.
    """
    by_name: dict[str, list[str]] = {}
    for concept, name in concepts.items():
        by_name.setdefault(" ".join(name.casefold().split()), []).append(concept)
    for same in by_name.values():
        if len(same) > 1 and set(same) & set(wanted.concepts):
            own = {each: "NAME" if each in same else name for each, name in wanted.concepts.items()}
            shown = ", ".join(f"{each}: {name}" for each, name in own.items())
            reason = (
                f"{' and '.join(same)} have the same name in prompts, {concepts[same[0]]!r}; give "
                f"them other names: 'dataset.{wanted.name}.concepts={{{shown}}}'"
            )
            return {NAMES: reason}
    return {}


def _lacks(manifest: Manifest, wanted: DatasetSpec) -> dict[str, str]:
    own = [photo for photo in manifest.images if photo.concept in wanted.concepts]
    held_out = [photo for photo in own if photo.split == "held_out"]
    lacks = alike(manifest.concepts, wanted)
    if not all(photo.boxes for photo in own):
        lacks[BOXES] = (
            f"its images have no boxes; give them with dataset.{wanted.name}.boxes=FILE "
            "(action=propose_boxes proposes them)"
        )
    if len(manifest.concepts) == 1:
        lacks[NEGATIVES] = (
            "it has no images of anything else; give some with "
            f"dataset.{wanted.name}.negatives=FOLDER (or a dataset's name)"
        )
    if not set(wanted.concepts) <= {photo.concept for photo in held_out}:
        lacks[HELD_OUT] = (
            f"no image is left to measure on; give more than {wanted.training_images} images"
        )
    return lacks

"""A person's own photos: a folder of images for each concept, boxes in an optional COCO JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import get_class

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.photo_folders import (
    image_folders,
    images_in,
    inner_folders,
    left_out,
    prompt_name,
    refuse_mixed,
)
from vwtransfer.datasets import NEGATIVES, Dataset, Example
from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates
from vwtransfer.datasets.bad_data import Skipped
from vwtransfer.datasets.coco_json import read_instances
from vwtransfer.datasets.matching import concepts_named, photos_named
from vwtransfer.datasets.photos import ImageFileDataset, alike
from vwtransfer.errors import UserError, nearest


class Folder(ImageFileDataset):
    """Images of a concept lie in a folder of its name.

    Args:
        root: the folder that holds a folder for each concept; or the images of a single one.
        boxes: COCO JSON whose file names are paths in `root` (or names that only one image has) and
            whose categories are concepts or their names in prompts; None for no boxes.
        allow_unverified: whether boxes marked "verified": false may be used.
        negatives: a folder of images, or of folders of images, of anything else, or the name of a
            dataset; they are further concepts, which no word is trained for.
        distractors: the config of the dataset that `negatives` names, if it names one.
        manifest: file of a former choice.
        wanted: name, concepts, anchors, training_images, held_out_images and seed.

    Raises:
        UserError: see `ImageFileDataset`.
    """

    def __init__(
        self,
        root: str,
        boxes: str | None = None,
        allow_unverified: bool = False,
        negatives: str | None = None,
        distractors: Mapping[str, Any] | None = None,
        manifest: str | None = None,
        **wanted: Any,
    ) -> None:
        asked = DatasetSpec(**wanted)
        folders = {"root": Path(root).expanduser()}
        if negatives is not None and distractors is None:
            folders["negatives"] = Path(negatives).expanduser()
        super().__init__(
            asked,
            folders,
            lambda: candidates(asked, folders, Path(boxes) if boxes else None),
            manifest,
            allow_unverified,
        )
        self._distractors = _built(distractors) if distractors is not None else None
        if self._distractors is not None:
            for concept in self._distractors.concepts:
                if concept in self.concepts:
                    raise UserError(
                        f"dataset.{self.name}.negatives={negatives}: has {concept} too, "
                        "which is to be trained; choose another dataset."
                    )
            self.concepts = {**self.concepts, **self._distractors.concepts}
            lacks = {need: why for need, why in self.remarks.lacks.items() if need != NEGATIVES}
            self.remarks = replace(self.remarks, lacks=lacks | alike(self.concepts, asked))

    def training(self, concept: str) -> list[Example]:
        """The images a word for `concept` is trained on."""
        if self._distractors is not None and concept in self._distractors.concepts:
            return self._distractors.training(concept)
        return super().training(concept)

    def held_out(self, concept: str) -> list[Example]:
        """The images chosen for `concept` that metrics are measured on."""
        if self._distractors is not None and concept in self._distractors.concepts:
            return self._distractors.held_out(concept)
        return super().held_out(concept)


def _built(node: Mapping[str, Any]) -> Dataset:
    dataset: Dataset = get_class(node["_target_"])(
        **{key: value for key, value in node.items() if key != "_target_"}
    )
    return dataset


def candidates(wanted: DatasetSpec, folders: Mapping[str, Path], boxes: Path | None) -> Candidates:
    """All images of the concepts, and of other things from the folder "negatives"."""
    root = folders["root"]
    there = image_folders(root, wanted.concepts)
    noted = left_out(root) + ([] if root in there.values() else _beside(root))
    images = {}
    for concept in wanted.concepts:
        if concept not in there:
            raise UserError(
                f"dataset.{wanted.name}.concepts={concept}: there is no such folder of images in "
                f"{root}. {nearest(concept, image_folders(root))}"
            )
        noted += _inside(concept, there[concept])
        images[concept] = [path.relative_to(root).as_posix() for path in images_in(there[concept])]
    every = [file for files in images.values() for file in files]
    annotated: Mapping[str, Annotation | None] = dict.fromkeys(every)
    labels = {concept: concept for concept in wanted.concepts}
    skipped: tuple[Skipped, ...] = ()
    if boxes:
        annotated, labels, skipped = _annotated(boxes, every, wanted)
    pool = {
        concept: [Candidate(file, annotated[file]) for file in files]
        for concept, files in images.items()
    }
    others = {}
    if "negatives" in folders:
        further = image_folders(folders["negatives"])
        refuse_mixed(folders["negatives"], further)
        noted += left_out(folders["negatives"])
        for name, place in further.items():
            if name in wanted.concepts:
                raise UserError(
                    f"dataset.{wanted.name}.negatives: {place} has the name of a concept; "
                    "give it another."
                )
            others[name] = prompt_name(name)
            files = [path.relative_to(folders["negatives"]) for path in images_in(place)]
            pool[name] = [Candidate(file.as_posix(), None, "negatives") for file in files]
    return Candidates(
        pool, None, labels, others, displayed=True, skipped=skipped, noted=tuple(noted)
    )


def _beside(root: Path) -> list[str]:
    """A line for images beside the concepts' folders, and one for folders without any."""
    loose = images_in(root, nested=False)
    empty = [inner for inner in inner_folders(root) if not images_in(inner)]
    reasons = {
        "images that lie beside the folders of concepts": loose,
        "folders of no image": empty,
    }
    return [
        f"{root.name}: left out {len(found)} {what}, such as {found[0].name}"
        for what, found in reasons.items()
        if found
    ]


def _inside(concept: str, folder: Path) -> list[str]:
    """A line where it holds nothing but folders of images, which may be concepts themselves."""
    inner = [each.name for each in inner_folders(folder) if images_in(each)]
    if len(inner) < 2 or images_in(folder, nested=False):
        return []
    return [
        f"{concept}: its images lie in {len(inner)} folders, such as {inner[0]}, which are taken "
        f"for one concept; if they are several, set root to {folder}"
    ]


def _annotated(
    boxes: Path, files: Sequence[str], wanted: DatasetSpec
) -> tuple[dict[str, Annotation], dict[str, str], tuple[Skipped, ...]]:
    """What is annotated in each file, which may be nothing; category -> concept; what is unusable.

    Raises:
        UserError: the JSON names none of the files, or a concept is none of its categories.
    """
    listed = read_instances(boxes)
    named = photos_named(listed.images, files)
    if not named:
        such = f", such as {next(iter(listed.images))}" if listed.images else ""
        raise UserError(
            f"{boxes}: names {len(listed.images)} images{such}, and none of the {len(files)} of "
            f"dataset.{wanted.name}, such as {files[0]}. Write their paths in the root, or names."
        )
    labels = concepts_named(listed.categories, wanted.concepts)
    for concept, name in wanted.concepts.items():
        if concept not in labels.values():
            raise UserError(
                f"{boxes}: has no category {concept}{'' if name == concept else f' or {name}'}; "
                f"rename one there. {nearest(concept, listed.categories)}"
            )
    meant = set(named.values())
    rest = [name for name in listed.images if name not in meant]
    beside = f"; {len(rest)} of its names are of no photo, such as {rest[0]}" if rest else ""
    unnamed = Annotation(None, (), lacking=f"{boxes.name} does not name it{beside}")
    annotated = {file: listed.images[named[file]] if file in named else unnamed for file in files}
    return annotated, labels, listed.skipped

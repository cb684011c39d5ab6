"""ImageNet as Kaggle hands it out: ILSVRC/{Data,Annotations}/CLS-LOC/, LOC_val_solution.csv."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates, Pool, labels_of
from vwtransfer.datasets.bad_data import Skipped, UnusableError
from vwtransfer.datasets.photos import ImageFileDataset
from vwtransfer.datasets.voc_xml import read_xml
from vwtransfer.errors import UserError
from vwtransfer.files import decoded, read_regular

Layout = Literal["CLS-LOC", "DET"]
LARGEST_LIST = 1 << 28  # bytes
SOLUTION = "LOC_val_solution.csv"
_IMAGE, _PREDICTION = "ImageId", "PredictionString"
_TRAINING = {"CLS-LOC": "train", "DET": "train/ILSVRC2013_train"}


class ImageNet(ImageFileDataset):
    """Images with boxes; a training image's concept is its folder, others' that of their boxes.

    Args:
        root: the folder that holds Data/ and Annotations/, or ILSVRC/ with them.
        layout: CLS-LOC, the 1,000 classes of localisation, or DET, the 200 of detection.
        wnids: concept -> WordNet id.
        manifest: file of a former choice; with it annotations are not read.
        wanted: name, concepts, anchors, training_images, held_out_images and seed.

    Raises:
        UserError: see `ImageFileDataset`.
    """

    def __init__(
        self,
        root: str,
        layout: Layout,
        wnids: Mapping[str, str],
        manifest: str | None = None,
        **wanted: Any,
    ) -> None:
        asked, given = DatasetSpec(**wanted), Path(root).expanduser()
        folder = folder_in(given)
        labels = labels_of(wnids, asked.concepts, f"dataset.{asked.name}.wnids")
        super().__init__(
            asked, {"root": folder}, lambda: candidates(given, layout, labels), manifest
        )


def folder_in(root: Path) -> Path:
    """The folder that holds Data/ and Annotations/: `root`, or ILSVRC/ in it."""
    return root / "ILSVRC" if (root / "ILSVRC").is_dir() else root


def training_folder(layout: str, wnid: str) -> str:
    """Where a class's training images are in Data/, and their annotations in Annotations/."""
    return f"{layout}/{_TRAINING[layout]}/{wnid}"


def solution_in(root: Path, layout: str) -> Path | None:
    """The list of the classes of validation images; None where there is none."""
    places = (folder_in(root), root) if layout == "CLS-LOC" else ()
    found = (place / SOLUTION for place in places)
    return next((path for path in found if path.is_file()), None)


def solution_text(classes: Mapping[str, str]) -> str:
    """Such a list, of image -> WordNet id."""
    lines = [
        f"{_IMAGE},{_PREDICTION}",
        *(f"{image},{wnid}" for image, wnid in sorted(classes.items())),
    ]
    return "\n".join(lines) + "\n"


def read_solution(path: Path) -> list[tuple[str, str]]:
    """Such a list: images and their WordNet ids.

    Raises:
        UserError: it is none.
    """
    try:
        text = decoded(read_regular(path, LARGEST_LIST))
        header = text.partition("\n")[0]
        separator = next((each for each in ",;\t" if each in header), ",")  # spreadsheets change it
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [(row[_IMAGE], (row[_PREDICTION] or "").split(" ")[0]) for row in table]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as {_IMAGE},{_PREDICTION}.") from error
    if not rows:
        raise UserError(f"{path}: has no lines.")
    return rows


def candidates(root: Path, layout: str, labels: Mapping[str, str]) -> Candidates:
    """All images of the concepts that have boxes.

    Args:
        root: the folder that holds Data/ and Annotations/, or ILSVRC/ with them.
        layout: CLS-LOC or DET.
        labels: WordNet id -> concept.
    """
    folder = folder_in(root)
    if not (folder / "Data" / layout).is_dir():
        raise UserError(f"{folder / 'Data' / layout}: there is no such folder.")
    training = {concept: _training(folder, layout, wnid) for wnid, concept in labels.items()}
    solution = solution_in(root, layout)
    skipped: list[Skipped] = []
    if solution:
        held_out = _by_solution(folder, solution, labels)
    else:
        held_out = _by_boxes(folder, layout, labels, skipped)
    return Candidates(training, held_out, labels, skipped=tuple(skipped))


def _training(folder: Path, layout: str, wnid: str) -> list[Candidate]:
    """The annotated images of a class; most images of CLS-LOC have no boxes."""
    inside = training_folder(layout, wnid)
    annotations = sorted((folder / "Annotations" / inside).glob("*.xml"))
    if not annotations:
        raise UserError(
            f"{folder / 'Annotations' / inside}: there are no XML files. Images are used with "
            f"boxes only; unpack the annotations beside {folder / 'Data'}."
        )
    return [Candidate(f"Data/{inside}/{xml.stem}.JPEG", xml) for xml in annotations]


def _by_solution(folder: Path, solution: Path, labels: Mapping[str, str]) -> Pool:
    """Validation images by the list of their classes, so that 50,000 XML files stay closed."""
    pool: dict[str, list[Candidate]] = {concept: [] for concept in labels.values()}
    for image, wnid in read_solution(solution):
        if wnid in labels:
            xml = folder / "Annotations" / "CLS-LOC" / "val" / f"{Path(image).name}.xml"
            pool[labels[wnid]].append(Candidate(_validation_image(folder, image, wnid), xml))
    return pool


def _validation_image(folder: Path, image: str, wnid: str) -> str:
    """Where it lies: all in one folder, or in a folder for each class, as many sort them."""
    sorted_into = f"Data/CLS-LOC/val/{wnid}"
    place = sorted_into if (folder / sorted_into).is_dir() else "Data/CLS-LOC/val"
    return f"{place}/{image}.JPEG"


def _by_boxes(folder: Path, layout: str, labels: Mapping[str, str], skipped: list[Skipped]) -> Pool:
    """Validation images by their largest box."""
    pool: dict[str, list[Candidate]] = {concept: [] for concept in labels.values()}
    for xml, annotation in _validation(folder, layout, skipped):
        wnid = annotation.category() or ""
        if wnid in labels:
            file = f"Data/{layout}/val/{xml.stem}.JPEG"
            if layout == "CLS-LOC":
                file = _validation_image(folder, xml.stem, wnid)
            pool[labels[wnid]].append(Candidate(file, annotation))
    return pool


def _validation(
    folder: Path, layout: str, skipped: list[Skipped]
) -> Iterator[tuple[Path, Annotation]]:
    for xml in sorted((folder / "Annotations" / layout / "val").glob("*.xml")):
        try:
            yield xml, read_xml(xml)
        except UnusableError as error:
            skipped.append(Skipped(f"Data/{layout}/val/{xml.stem}.JPEG", str(error)))

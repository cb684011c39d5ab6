"""Pictures as they stand in the page: small, and inside it."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from vwtransfer.figures.galleries import made_by, spoken
from vwtransfer.grid import delta_text
from vwtransfer.study_folder import StudyFolder
from vwtransfer.summary import BASELINES, delta_name, in_order

SIDE = 96  # pixels of a thumbnail's longer side
QUALITY = 80
GROUP = ["dataset", "delta", "trained_for", "transfer", "seed"]
TITLES = {
    "images": "Generations",
    "detections": "Detections",
    "cut": "Generations with the text encoder cut to its first blocks",
}
MODEL = {"images": "generation", "detections": "detection", "cut": "generation"}


class Picture(NamedTuple):
    """One thumbnail: its data URI, what it shows in words, and the file it was made of."""

    source: str
    said: str
    file: str


@dataclass(frozen=True)
class Gallery:
    """Pictures of words that share dataset, delta and origin.

    Attributes:
        title: in words.
        dataset, delta, trained_for, transfer: as in the results, delta "inf" when unconstrained.
        concepts: of the rows.
        columns: anchors, or "first N blocks"; empty where each concept has one picture.
        cells: a row for each concept: for each column its picture or None.
        anchors: where there are no columns, the anchor of each row.
    """

    title: str
    dataset: str
    delta: str
    trained_for: str
    transfer: str
    concepts: list[str]
    columns: list[str]
    cells: list[list[Picture | None]]
    anchors: list[str]


def galleries(study: StudyFolder, kind: str) -> Iterator[Gallery]:
    """The galleries of one kind of pictures, in the order of tasks, deltas from the smallest."""
    kept = study.pictures[kind]
    kept = kept[~kept["trained_for"].isin(BASELINES)]
    tasks = in_order(kept["trained_for"].unique())
    groups = sorted(
        kept.groupby(GROUP),
        key=lambda item: (item[0][0], item[0][1], tasks.index(item[0][2]), item[0][3:]),
    )
    for key, group in groups:
        yield _gallery(study.folder, kind, tuple(map(str, key[:1] + key[2:4])), key[1], group)


def _gallery(
    folder: Path, kind: str, names: Sequence[str], delta: float, group: pd.DataFrame
) -> Gallery:
    dataset, trained_for, transfer = names
    if kind == "cut":
        group = group.assign(column=[f"first {number}" for number in group["number"]])
        group = group.sort_values(["concept", "number"])
    else:
        group = group[group["number"] == group["number"].min()].assign(column=group["anchor"])
        group = group.sort_values(["concept", "anchor"])
    concepts = list(dict.fromkeys(group["concept"]))
    columns = list(dict.fromkeys(group["column"]))
    if kind != "cut":
        columns = sorted(columns)
    alone = group.groupby("concept").size().max() == 1
    found = {(row.concept, row.column): row for row in group.itertuples()}

    def picture(concept: str, column: str) -> Picture | None:
        row = found.get((concept, column))
        if row is None:
            return None
        what = f"{spoken(concept)} from {row.anchor}"
        said = f"{what}, {column} blocks" if kind == "cut" else what
        return Picture(thumbnail(row.path), said, row.path.relative_to(folder).as_posix())

    if alone:
        rows = list(group.itertuples())
        cells = [[picture(row.concept, row.column)] for row in rows]
    else:
        cells = [[picture(concept, column) for column in columns] for concept in concepts]
    return Gallery(
        title=f"{dataset}, {delta_name(delta)}: {made_by(trained_for, transfer, MODEL[kind])}",
        dataset=dataset,
        delta=delta_text(delta),
        trained_for=trained_for,
        transfer=transfer,
        concepts=concepts,
        columns=[] if alone else columns,
        cells=cells,
        anchors=[row.anchor for row in group.drop_duplicates("concept").itertuples()],
    )


def thumbnail(path: Path) -> str:
    """A small WebP of an image file as a data URI; empty where the file cannot be read."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError:
        return ""
    image.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, format="WEBP", quality=QUALITY)
    return _uri("webp", data.getvalue())


def whole(path: Path) -> Picture:
    """A figure's PNG as it is, and what it says of itself."""
    with Image.open(path) as image:
        said = str(image.info.get("Description", path.stem))
    return Picture(_uri("png", path.read_bytes()), said, f"figures/{path.name}")


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

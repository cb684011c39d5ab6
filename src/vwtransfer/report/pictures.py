"""Pictures as they stand in the page: inside it, and small unless it is asked for otherwise."""

import base64
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from PIL import Image

from vwtransfer.report.figures.galleries import (
    CHOSEN,
    MOST_WORDS,
    ORIGIN,
    made_by,
    origin_label,
    origins_of,
    paired,
    spoken,
    target_image,
    words_in,
)
from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.results.summary import delta_name, delta_rank
from vwtransfer.words.cells import delta_text

SIDE = 80  # pixels of a thumbnail's longer side
SHEET_WIDTH = 1400  # pixels
QUALITY = 75
# what Pillow raises for a file that is cut off, changed, or so large that it is taken for an attack
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, zlib.error, Image.DecompressionBombError)
TITLES = {
    "images": "Generations",
    "detections": "Detections",
    "cut": "Generations with the text encoder cut to its first blocks",
}


class Picture(NamedTuple):
    """One picture: its file, what it shows in words, and where the page finds the file."""

    path: Path
    said: str
    file: str


class Line(NamedTuple):
    """What a row or a column shows, and the words that it is of; empty where it is of several.

    Attributes:
        label: in words.
        concept, anchor: of its words.
        source, target: the models of its words and of its pictures, where the gallery has several.
    """

    label: str
    concept: str = ""
    anchor: str = ""
    source: str = ""
    target: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows and columns.

    Attributes:
        title: in words.
        dataset, delta: as in the results, delta "inf" when unconstrained.
        source, transfer, target: of all of its words; empty where they differ.
        columns: none where each row has one picture, and the rows stand side by side.
        rows: each with its pictures, None where there is none.
    """

    title: str
    dataset: str
    delta: str
    source: str
    transfer: str
    target: str
    columns: list[Line]
    rows: list[tuple[Line, list[Picture | None]]]


def side_by_side(study: StudyFolder) -> Iterator[Gallery]:
    """Figure 4 for each dataset and delta: target images, and what each model's words generate."""
    for (dataset, delta, _), group in _groups(study, "images", CHOSEN):
        words, origins = paired(study, group)[:MOST_WORDS], origins_of(group, study.tasks)
        found = group.drop_duplicates([*ORIGIN, "concept", "anchor"])
        path = found.set_index([*ORIGIN, "concept", "anchor"])["path"].to_dict()
        targets = [_target(study.folder, dataset, word[0]) for word in words]
        rows = [(Line("target"), targets)] if any(targets) else []
        for origin in origins:
            pictures = [
                _picture(study.folder, path.get((*origin, *word)), _said(*word)) for word in words
            ]
            line = Line(origin_label(origin, group), source=origin[0], target=origin[2])
            rows.append((line, pictures))
        yield Gallery(
            title=f"{dataset}, {delta_name(delta)}: words of each model side by side",
            dataset=dataset,
            delta=delta_text(delta),
            source="",
            transfer="",
            target="",
            columns=[Line(f"{spoken(word[0])} from {word[1]}", *word) for word in words],
            rows=rows,
        )


def galleries(study: StudyFolder, kind: str) -> Iterator[Gallery]:
    """The galleries of one kind of pictures, unconstrained words first, in the order of models."""
    for key, group in _groups(study, kind, [*CHOSEN, *ORIGIN]):
        dataset, delta, _, source, transfer, target = key
        grid = _by_blocks if kind == "cut" else _by_anchor
        columns, rows = grid(study, dataset, group, targets=kind == "images")
        by = made_by(source, transfer, target, study.tasks)
        yield Gallery(
            title=f"{dataset}, {delta_name(delta)}: {by}",
            dataset=dataset,
            delta=delta_text(delta),
            source=source,
            transfer=transfer,
            target=target,
            columns=columns,
            rows=rows,
        )


def _groups(
    study: StudyFolder, kind: str, keys: list[str]
) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    saved = words_in(study.pictures[kind])
    order = study.ordered_models([*saved["source_model"], *saved["target_model"]])

    def rank(item: tuple[tuple[Any, ...], pd.DataFrame]) -> tuple[Any, ...]:
        """Unconstrained words first, those of the model's own, then in the order of models."""
        dataset, delta, seed, *origin = item[0]
        by: tuple[Any, ...] = ()
        if origin:
            source, transfer, target = origin
            by = (transfer != "none", order.index(target), order.index(source), transfer)
        return study.datasets.index(dataset), delta_rank(delta), seed, by

    return sorted(saved.groupby(keys), key=rank)


Grid = tuple[list[Line], list[tuple[Line, list[Picture | None]]]]


def _by_anchor(study: StudyFolder, dataset: str, group: pd.DataFrame, targets: bool) -> Grid:
    """Target concept by anchor word, with the target in front; or one picture of each concept."""
    folder = study.folder
    group = group[group["number"] == group["number"].min()].sort_values(["concept", "anchor"])
    found = group.set_index(["concept", "anchor"])["path"].to_dict()
    if not group["concept"].duplicated().any():
        alone = [
            (Line(_said(*word), *word), [_picture(folder, path, _said(*word))])
            for word, path in found.items()
        ]
        return [], alone
    concepts, anchors = study.sides(group)
    targets = targets and any(target_image(folder, dataset, concept) for concept in concepts)
    rows = [
        (
            Line(spoken(concept), concept),
            [_target(folder, dataset, concept)] * targets
            + [
                _picture(folder, found.get((concept, anchor)), _said(concept, anchor))
                for anchor in anchors
            ],
        )
        for concept in concepts
    ]
    return [Line("target")] * targets + [Line(anchor, "", anchor) for anchor in anchors], rows


def _by_blocks(study: StudyFolder, dataset: str, group: pd.DataFrame, targets: bool) -> Grid:
    """A word in each row, by how many blocks the text encoder was left."""
    counts = sorted(group["number"].unique())
    found = group.set_index(["concept", "anchor", "number"])["path"].to_dict()
    rows = []
    for word in sorted({key[:2] for key in found}):
        pictures = [
            _picture(study.folder, found.get((*word, count)), f"{_said(*word)}, {count} blocks")
            for count in counts
        ]
        rows.append((Line(_said(*word), *word), pictures))
    return [Line(f"first {count}") for count in counts], rows


def _said(concept: str, anchor: str) -> str:
    return f"{spoken(concept)} from {anchor}"


def _picture(folder: Path, path: Path | None, said: str) -> Picture | None:
    if path is None:
        return None
    return Picture(path, said, path.relative_to(folder).as_posix())


def _target(folder: Path, dataset: str, concept: str) -> Picture | None:
    return _picture(folder, target_image(folder, dataset, concept), f"target: {spoken(concept)}")


def figure(path: Path) -> Picture:
    """A figure's PNG, and what it says of itself."""
    try:
        with Image.open(path) as image:
            said = str(image.info.get("Description", path.stem))
    except _DAMAGED:
        said = path.stem
    return Picture(path, said, f"figures/{path.name}")


def thumbnail(path: Path) -> str:
    """A small WebP of an image file as a data URI; empty where the file cannot be read."""
    return _webp(path, (SIDE, SIDE), quality=QUALITY)


def sheet(path: Path) -> str:
    """A figure of which a study has many: a WebP that can still be read."""
    return _webp(path, (SHEET_WIDTH, 10_000), quality=QUALITY)


def lossless(path: Path) -> str:
    """A figure as a WebP of the same pixels, which takes a third of its PNG."""
    return _webp(path, None, lossless=True, method=6)


def as_it_is(path: Path) -> str:
    """An image file itself as a data URI; empty where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            kind = str(image.format).lower()
        return _uri(kind, path.read_bytes())
    except _DAMAGED:
        return ""


def _webp(path: Path, most: tuple[int, int] | None, **how: Any) -> str:
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except _DAMAGED:
        return ""
    if most is not None:
        image.thumbnail(most)
    data = io.BytesIO()
    image.save(data, format="WEBP", **how)
    return _uri("webp", data.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

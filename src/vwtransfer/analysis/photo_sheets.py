"""A picture of each concept: its photos, and below them what models make of its words.

Read from a study's folder (images/ and prompted/, with their values); models that draw nothing show
what they find in the photos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from vwtransfer.datasets import Dataset
from vwtransfer.evaluation.saved_images import COLUMNS, saved_images
from vwtransfer.files import write_atomically
from vwtransfer.results.schema import WORD
from vwtransfer.results.summary import HEADLINES

PER_LINE = 6  # images
SIDE = 200  # pixels of an image's longer side
GAP, CAPTION, TITLE = 8, 18, 24  # pixels
LETTERS = 150, 35  # of a line of a title, of a caption


@dataclass(frozen=True)
class Row:
    """Images of the sheet under a title, each with a caption or ""."""

    title: str
    tiles: Sequence[tuple[str, Image.Image]]


def draw_sheet(rows: Sequence[Row], path: Path) -> None:
    """Writes a PNG with one row below the other; a long one goes on in the next line."""
    width = GAP + PER_LINE * (SIDE + GAP)
    sheet = Image.new("RGB", (width, GAP + sum(map(_height, rows))), "white")
    pen, y = ImageDraw.Draw(sheet), GAP
    for row in rows:
        top = y
        for title in wrap(row.title, LETTERS[0]):
            pen.text((GAP, top), title, fill="black", font=ImageFont.load_default(15))
            top += TITLE
        for i, (caption, image) in enumerate(row.tiles):
            line, column = divmod(i, PER_LINE)
            place = GAP + column * (SIDE + GAP), top + line * (SIDE + CAPTION)
            sheet.paste(fitted(image), place)
            below = place[0], place[1] + SIDE
            pen.text(below, _short(caption), fill="dimgray", font=ImageFont.load_default(12))
        y += _height(row)
    write_atomically(path, partial(sheet.save, format="PNG"))


def _short(caption: str) -> str:
    return caption if len(caption) <= LETTERS[1] else f"{caption[: LETTERS[1] - 3]}..."


def _height(row: Row) -> int:
    lines = -(-len(row.tiles) // PER_LINE)
    return len(wrap(row.title, LETTERS[0])) * TITLE + lines * (SIDE + CAPTION) + GAP


def fitted(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The image at the size at which a sheet has it; small ones keep their pixels as they are."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, how)


def photos_of(dataset: Dataset, concept: str) -> Row:
    """All photos of a concept, those that words are trained on first."""
    training, held_out = dataset.training(concept), dataset.held_out(concept)
    tiles = [(each.id, fitted(each.load())) for each in (*training, *held_out)]
    rest = f", then {len(held_out)} held out" if held_out else ""
    return Row(f"{concept}: {len(training)} photos to train on{rest}", tiles)


def drawn_of(
    folder: Path,
    frame: pd.DataFrame,
    dataset: str,
    concept: str,
    templates: Mapping[str, str],
    further: Sequence[str],
) -> Iterator[Row]:
    """What models drew of a concept's words, and of their anchors.

    Args:
        folder: the study's.
        frame: its results.
        dataset: of the words.
        concept: of the words.
        templates: model -> its prompt.
        further: the prompts of prompted/.
    """
    keys = [name for name in COLUMNS if name != "number"]
    found = {kind: saved_images(folder / kind) for kind in ("images", "prompted")}
    own = {
        kind: images[(images["dataset"] == dataset) & (images["concept"] == concept)]
        for kind, images in found.items()
    }
    prompted = dict(list(own["prompted"].groupby(keys)))
    groups = [(key, group) for key, group in own["images"].groupby(keys)]
    for key, group in sorted(groups, key=lambda each: _order(each[1].iloc[0])):
        first = group.iloc[0]
        if first["target_model"] not in templates or first["kind"] not in (WORD, "anchor"):
            continue
        is_word = first["kind"] == WORD
        stands = f"<{concept}>" if is_word else first["anchor"]
        title = f"{first['target_model']}: {templates[first['target_model']].format(stands)}"
        values = _values(frame, first)
        yield Row(f"{title} ({_origin(first)}){values}", [("", image) for image in _read(group)])
        if is_word and key in prompted:
            lead = templates[first["target_model"]].partition("{}")[0]
            captions = [text.removeprefix(lead).format("...") for text in further]
            tiles = list(zip(captions, _read(prompted[key]), strict=False))
            yield Row(f"{first['target_model']}: {lead}<{concept}> in further prompts", tiles)


def _order(first: pd.Series) -> tuple[object, ...]:
    """By model; the anchor, then the model's own words, then others."""
    own = first["source_model"] == first["target_model"]
    rank = 0 if first["kind"] != WORD else 1 if own else 2
    return first["target_model"], rank, first["source_model"], first["anchor"], first["delta"]


def _origin(first: pd.Series) -> str:
    if first["kind"] != WORD:
        return "the anchor, as before training"
    if first["source_model"] == first["target_model"]:
        return f"trained from {first['anchor']}"
    return f"of {first['source_model']}, by {first['transfer']}"


def _values(frame: pd.DataFrame, first: pd.Series) -> str:
    """What was measured of one word, as ": CLIP-I 0.81, CLIP-T 0.27"."""
    names = [name for name in COLUMNS if name != "number"]
    mine = frame
    for name in names:
        mine = mine[mine[name] == first[name]]
    values = mine.set_index("metric")["value"].to_dict()
    shown = [f"{HEADLINES[m]} {values[m]:.2f}" for m in HEADLINES if m in values]
    return f": {', '.join(shown)}" if shown else ""


def _read(group: pd.DataFrame) -> list[Image.Image]:
    images = []
    for path in group.sort_values("number")["path"]:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    return images

"""All images with their boxes on one sheet, to look through."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vwtransfer.datasets.annotation import Object
from vwtransfer.files import write_atomically

COLUMNS = 6
SIDE = 240  # pixels of an image's longer side
LINE = 16
GAP = 8
VERIFIED, UNVERIFIED = "#1a7f37", "#d1242f"


@dataclass(frozen=True)
class Panel:
    """An image of the sheet: its file, its pixels (upright) and what is annotated in it."""

    file: str
    image: Image.Image
    objects: tuple[Object, ...]


def draw_contact_sheet(panels: Sequence[Panel], path: Path) -> None:
    """Writes a PNG: verified boxes are green, others red; an image without boxes says so."""
    columns = min(COLUMNS, max(1, len(panels)))
    rows = math.ceil(len(panels) / columns)
    width, height = SIDE + GAP, SIDE + 2 * LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        sheet.paste(_drawn(panel), (GAP + column * width, GAP + row * height))
    write_atomically(path, partial(sheet.save, format="PNG"))


def _drawn(panel: Panel) -> Image.Image:
    scale = SIDE / max(panel.image.size)
    width, height = (max(1, round(side * scale)) for side in panel.image.size)
    drawn = Image.new("RGB", (SIDE, SIDE + 2 * LINE), "white")
    drawn.paste(panel.image.resize((width, height)), (0, 0))
    pen = ImageDraw.Draw(drawn)
    for each in panel.objects:
        corners = [value * scale for value in each.box]
        pen.rectangle(corners, outline=VERIFIED if each.verified else UNVERIFIED, width=3)
    names = ", ".join(
        each.name if each.verified else f"{each.name} (unverified)" for each in panel.objects
    )
    font = ImageFont.load_default(12)
    pen.text((0, SIDE), panel.file, fill="black", font=font)
    pen.text((0, SIDE + LINE), names or "no box", fill="black", font=font)
    return drawn

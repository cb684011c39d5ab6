"""Pictures in rows and columns: figures 4, 5 and 8 to 11 of the paper, and the cut encoders'."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from PIL import Image

from vwtransfer.analysis.photo_sheets import fitted
from vwtransfer.report.figures import sheet

SIDE = 128  # pixels of a picture on the sheet
GAP = 6
INCHES = 0.78  # of a picture's side
LABEL = 8  # points
EMPTY = 235  # grey of a place without a picture


@sheet.styled
def draw_grid(
    picture: Callable[[int, int], Path | None],
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    *,
    title: str,
    notes: Sequence[str],
    across: str,
    down: str,
) -> list[Path]:
    """Writes a sheet of pictures as PNG and PDF.

    Args:
        picture: the file of the picture in a row and column; None leaves the place grey.
        rows: their labels.
        columns: their labels.
        path: where to write, without an ending.
        title: of the sheet.
        notes: lines beneath it; how many pictures are missing is added.
        across: what the columns are.
        down: what the rows are.
    """
    step = SIDE + GAP
    pixels = np.full((len(rows) * step - GAP, len(columns) * step - GAP, 3), 255, np.uint8)
    missing = 0
    for i in range(len(rows)):
        for j in range(len(columns)):
            file = picture(i, j)
            missing += file is None
            place = pixels[i * step : i * step + SIDE, j * step : j * step + SIDE]
            place[:] = EMPTY if file is None else _square(file)
    left = 0.4 + max(map(_inches, rows))
    widest = max(map(_inches, columns))
    turned = widest > INCHES - 0.08
    top = 0.5 + 0.17 * len(title.splitlines()) + (widest if turned else 0.12)
    width, height = len(columns) * INCHES, len(rows) * INCHES
    below = 0.25 + 0.17 * len(notes) + 0.17 * bool(missing)
    size = (max(left + width + 0.15, 5.2), top + height + below)
    figure = Figure(figsize=size)
    ax = figure.add_axes(
        (left / size[0], below / size[1], width / size[0], height / size[1]), frameon=False
    )
    ax.imshow(pixels, aspect="auto", interpolation="nearest")
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xticks([j * step + SIDE / 2 for j in range(len(columns))], columns, rotation=90 * turned)
    ax.set_yticks([i * step + SIDE / 2 for i in range(len(rows))], rows)
    ax.tick_params(length=0, labelsize=LABEL)
    ax.set_xlabel(across, fontsize=8, loc="left", labelpad=8)
    ax.set_ylabel(down, fontsize=8)
    lacking = [f"{missing} of {len(rows) * len(columns)} pictures are missing (grey)."]
    lines = [*notes, *lacking * bool(missing)]
    figure.text(0.012, 1 - 0.08 / size[1], title, va="top", fontsize=9.5)
    figure.text(0.012, 0.06 / size[1], "\n".join(lines), va="bottom", fontsize=8)
    return sheet.write(figure, path, "\n".join([title, *lines]))


def _inches(label: str) -> float:
    """How long a label is."""
    return float(TextPath((0, 0), label, size=LABEL).get_extents().width) / 72


def _square(file: Path) -> np.ndarray:
    """The picture on a white square of SIDE pixels."""
    with Image.open(file) as opened:
        image = fitted(opened, SIDE)
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return np.asarray(square)

"""A sheet of panels: a title above, notes and a legend beneath, written as PNG and PDF."""

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vwtransfer.files import write_atomically

DOTS_PER_INCH = 160
PANEL_HEIGHT = 2.6  # inches, as all lengths here
MARGIN = 0.5
LINE = 0.18  # of text
LEGEND_COLUMN = 2.0
CHARACTERS_PER_INCH = 14

# a $ in a name is no formula
_STYLE = {"font.size": 9, "axes.titlesize": 9.5, "hatch.linewidth": 0.8, "text.parse_math": False}
styled = rc_context(_STYLE)


def panels(count: int, columns: int, panel_width: float) -> tuple[Figure, list[Axes]]:
    """An empty sheet of `count` panels in rows of `columns`, each `panel_width` inches wide."""
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(columns * panel_width, rows * PANEL_HEIGHT))
    figure.set_layout_engine("constrained", w_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def finish(
    figure: Figure, legend: Sequence[Artist], title: str, notes: Sequence[str], path: Path
) -> list[Path]:
    """Puts a title above the panels, notes and legend beneath (the sheet grows); writes it."""
    characters = int(figure.get_figwidth() * CHARACTERS_PER_INCH)
    lines = [line for note in notes for line in textwrap.wrap(note, characters)]
    larger = int(characters * 9 / 10)  # of a title's letters
    heads = [part for line in title.splitlines() for part in textwrap.wrap(line, larger)]
    columns = max(2, int(figure.get_figwidth() / LEGEND_COLUMN))
    text = len(heads) + len(lines) + math.ceil(len(legend) / columns)
    figure.set_figheight(figure.get_figheight() + MARGIN + LINE * text)
    figure.suptitle("\n".join(heads), x=0.01, ha="left", fontsize=10)
    figure.legend(
        handles=legend,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        title="\n".join(lines),
        alignment="left",
        title_fontsize=9,
    )
    return write(figure, path, "\n".join([title, *notes]))


def write(figure: Figure, path: Path, description: str) -> list[Path]:
    """Writes the sheet as `path` with .png and .pdf added; the same sheet gives the same bytes.

    Both files carry `description`, for readers that cannot see them.
    """
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Description": description},
        "pdf": {"Subject": description, "CreationDate": None},
    }
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)  # laid out once; an engine would have each file drawn twice
    written = []
    for kind, said in metadata.items():
        file = path.with_name(f"{path.name}.{kind}")  # a name may end in a delta: -0.5-0
        save = partial(figure.savefig, format=kind, dpi=DOTS_PER_INCH, metadata=said)
        write_atomically(file, save)
        written.append(file)
    return written

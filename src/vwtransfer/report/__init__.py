"""One self-contained page about a study, from its folder alone: action=report.

It opens from disk, needs no network and no model, and shows what is there; what is missing stands
in a banner at its top. See docs/report.md.
"""

from pathlib import Path

from vwtransfer.config import Config
from vwtransfer.files import keep_inside, write_text
from vwtransfer.progress import terminal
from vwtransfer.report.figures import draw_results
from vwtransfer.report.page import page
from vwtransfer.report.study_reader import read_study

NAME = "report.html"


def run(config: Config) -> None:
    """Writes the report of the study in outputs/name.

    Raises:
        UserError: there are no results there, or none that can be read.
    """
    path = write_report(config.folder, full=config.report == "full")
    size = path.stat().st_size / 1e6
    terminal().print(f"report: {path} ({size:.1f} MB)", soft_wrap=True)


def write_report(folder: Path, *, full: bool = False) -> Path:
    """Draws figures 3 and 6 of a study's folder and writes its report.html; returns that.

    Args:
        folder: the study's.
        full: whether pictures and figures are embedded as their files are, not made small.

    Raises:
        UserError: the folder holds no results, none that can be read, or those of several
            experiments.
    """
    keep_inside(folder)
    study = read_study(folder)
    drawn = draw_results(study)
    path = folder / NAME
    write_text(path, page(study, drawn, full=full))
    return path

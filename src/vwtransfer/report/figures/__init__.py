"""The figures of the paper, drawn from a study's folder alone, as PNG and PDF.

Figures 3 and 6 and, of studies of many models, a matrix are drawn from results; 4, 5, 7 and 8 to
18 from the pictures and tables that `action=figures` leaves. Each says what it shows: the study,
the transfer, how many words a mean is over, and what is missing of it. Two models of one task stand
side by side in all of them.
"""

from collections.abc import Callable
from pathlib import Path

from vwtransfer.files import check_place
from vwtransfer.report.figures.activations import activation_figures
from vwtransfer.report.figures.figure_3 import figure_3
from vwtransfer.report.figures.figure_6 import figure_6
from vwtransfer.report.figures.galleries import galleries
from vwtransfer.report.figures.matrix import matrix
from vwtransfer.report.figures.style import Shown
from vwtransfer.report.study_folder import StudyFolder

__all__ = ["draw_results", "figure_3", "figure_6", "from_models", "matrix"]

MANY_MODELS = 4  # of which bars are hard to compare


def draw_results(study: StudyFolder) -> dict[str, list[Path]]:
    """Draws figures 3, 6 and the matrix into the study's figures/, in place of those there.

    The matrix is that of a study with MANY_MODELS.

    Returns:
        Transfer method -> the PNG files; a figure that the results hold nothing for has none. With
        several methods each has its own figures, named after it.
    """
    drawn = {}
    current: set[Path] = set()
    check_place(study.folder / "figures" / "figure_3")  # files there are removed, too
    methods: list[str | None] = [*study.methods] or [None]
    for method in methods:
        named = f"-{method}" if len(study.methods) > 1 else ""
        shown = Shown(study.frame, method, study.planned, study.tasks, study.published, study.world)
        folder = study.folder / "figures"
        files = [
            draw(shown, folder / f"{name}{named}")
            for name, draw in (("figure_3", figure_3), ("figure_6", figure_6))
        ]
        if method and len(study.targets) >= MANY_MODELS:
            files.append(matrix(shown, folder / f"matrix{named}"))
        current.update(path for written in files for path in written)
        drawn[method or "none"] = [written[0] for written in files if written]
    for pattern in ("figure_[36]*", "matrix*"):
        for path in (study.folder / "figures").glob(pattern):
            if path not in current:  # of fewer transfers, or of results that are no longer there
                path.unlink()
    return drawn


def from_models(study: StudyFolder) -> list[Callable[[], list[Path]]]:
    """What draws each of the other figures into figures/, and gives its files."""
    sheets = activation_figures(
        study.activations, study.folder / "figures", study.name, study.planned, study.tasks
    )
    return [*galleries(study), *sheets]

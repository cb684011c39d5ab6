"""How retention depends on how near calibration prompts come to the concepts.

Benchmarks of the same words that differ in `transfer.exclude` side by side: from prompts that share
no attribute with any concept to prompts that may spell one out.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D

from vwtransfer import results
from vwtransfer.config.saved import read_mapping
from vwtransfer.leaderboard.page import table
from vwtransfer.report.figures import sheet
from vwtransfer.results.statistics import UNCONSTRAINED, Direction, Estimate, Retention, retention

SHARED = {"related": 0, "strict": 1, "description": 2, "none": 3}
"""`transfer.exclude` -> how many attributes of a concept a prompt may say."""

Curves = Mapping[str, Mapping[int, Retention]]
"""Method -> attributes shared -> retention."""


def draw_density(pattern: str, path: Path, delta: float = UNCONSTRAINED) -> list[Path]:
    """Writes `path` with .md added, a table, and the figure as .png and .pdf.

    Args:
        pattern: of the benchmarks' folders; one without results is passed over.
        path: of the files, without an ending.
        delta: of the words.
    """
    frames, near = {}, {}
    parent, name = Path(pattern).parent, Path(pattern).name
    for folder in sorted(parent.glob(name)):
        if (folder / "results.parquet").exists():
            shared = SHARED[read_mapping(folder / "config.yaml")["transfer"]["exclude"]]
            frames[shared] = results.read(folder)
            near[shared] = _nearest(folder)
    methods = sorted({m for frame in frames.values() for m in set(frame["transfer"])} - {"none"})
    curves = {
        method: {
            shared: retention(frame, method, delta)
            for shared, frame in sorted(frames.items())
            if method in {*frame["transfer"], *frame["kind"]}
        }
        for method in [*methods, "name"]
    }
    page = path.with_name(f"{path.name}.md")
    page.write_text(_table(curves, near), encoding="utf-8")
    return [page, *_figure(curves, path)]


def _nearest(folder: Path) -> float:
    """Mean cosine, in the source, of the concepts' names and the prompts nearest to them."""
    reports = sorted((folder / "transfer").glob("typed_nearest-*.json"))
    found = [json.loads(report.read_text(encoding="utf-8")) for report in reports]
    return float(np.mean([v for each in found for v in each["nearest_to_names"].values()]))


def _table(curves: Curves, near: Mapping[int, float]) -> str:
    """Retention, mean over directions: a row for each method, a column for each setting."""
    shared = sorted(near)
    excluded = {count: name for name, count in SHARED.items()}
    most = shared[-1]

    def kept(method: str) -> float:
        value = curves[method][most].overall.value if most in curves[method] else math.nan
        return -value if math.isfinite(value) else math.inf

    head = ["attributes of a concept that a prompt may say", *map(str, shared)]
    rows = [
        ["`transfer.exclude`", *(f"`{excluded[count]}`" for count in shared)],
        ["cosine of name and nearest prompt", *(f"{near[count]:.2f}" for count in shared)],
    ]
    for method in sorted(curves, key=kept):
        of_method = curves[method]
        each = (str(of_method[n].overall) if n in of_method else "" for n in shared)
        rows.append(["the name, typed" if method == "name" else f"`{method}`", *each])
    return "\n".join([*table(head, rows), ""])


@sheet.styled
def _figure(curves: Curves, path: Path) -> list[Path]:
    """Retention against attributes shared: a panel for the mean and for each direction."""
    curves = {method: found for method, found in curves.items() if method != "name"}
    pairs: list[Direction | None] = [None]
    pairs += sorted({p for each in curves.values() for r in each.values() for p in r.directions})
    colours = [colormaps["tab20"](number) for number in range(20)]
    figure, axes = sheet.panels(len(pairs), 3, 3.6)
    for ax, pair in zip(axes, pairs, strict=True):
        for number, found in enumerate(curves.values()):
            points = {
                shared: each.overall if pair is None else each.directions.get(pair)
                for shared, each in found.items()
            }
            there: dict[int, Estimate] = {n: e for n, e in points.items() if e is not None}
            values = [e.value for e in there.values()]
            ax.plot(list(there), values, "o-", color=colours[number % 20], markersize=3.5)
        for level in (0, 1):
            ax.axhline(level, color="#999999", linewidth=0.9)
        ax.set_title("mean over directions" if pair is None else " > ".join(pair))
        ax.set_xticks(range(4))
        ax.set_xlabel("attributes that a prompt may share")
    axes[0].set_ylabel("retention")
    legend = [
        Line2D([], [], color=colours[number % 20], marker="o", label=method)
        for number, method in enumerate(curves)
    ]
    title = "Retention by how near calibration prompts come to the concepts"
    return sheet.finish(figure, legend, title, [], path)

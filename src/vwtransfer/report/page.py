"""Puts the page together: what the template shows, and what its script reads."""

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors import SafetensorError, safe_open

from vwtransfer import __version__
from vwtransfer.report.data import data, scripted, word_rows
from vwtransfer.report.figures.activations import ANCHOR_MARKERS, CONCEPT_COLOURS, LABELS
from vwtransfer.report.figures.study import COLOURS, MARKERS
from vwtransfer.report.pictures import (
    MODEL,
    TITLES,
    Gallery,
    Picture,
    galleries,
    sheet,
    side_by_side,
    whole,
)
from vwtransfer.report.study_reader import OURS, StudyFolder
from vwtransfer.report.summary_text import other_world, story
from vwtransfer.results import published
from vwtransfer.results.summary import BASELINES, HEADLINES, delta_name, delta_rank, in_order

SCRIPTS = (
    *("data", "filters", "means", "charts", "figure_3", "figure_6", "activations", "galleries"),
    *("tables", "start"),
)
"""Those in in_browser/, in this order: each uses what stands before it."""
PLOTLY = "plotly/plotly-basic.min.js"
"""The bundle for bars and lines, by `npm pack plotly.js-basic-dist-min`: a quarter of the whole."""
PLOTLY_MARKERS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"},
    **{"P": "cross", "X": "x", "<": "triangle-left", ">": "triangle-right", "*": "star"},
}


def page(study: StudyFolder, drawn: Mapping[str, list[Path]]) -> str:
    """The whole HTML page of a study.

    Args:
        study: what its folder holds.
        drawn: transfer method -> the PNG files of figures 3 and 6.
    """
    palette = {
        "tasks": COLOURS,
        "markers": [PLOTLY_MARKERS[marker] for marker in MARKERS],
        "concepts": CONCEPT_COLOURS,
        "anchors": [PLOTLY_MARKERS[marker] for marker in ANCHOR_MARKERS],
        "labels": {
            label: {"ink": colour, "symbol": PLOTLY_MARKERS[marker]}
            for label, (colour, marker) in LABELS.items()
        },
    }
    return _template().render(
        study=study,
        version=__version__,
        story=story(study),
        figures={method: [whole(path) for path in paths] for method, paths in drawn.items()},
        numbers=_numbers(study),
        comparison=_comparison(study),
        other_world=other_world(study),
        coverage=_coverage(study),
        galleries=_galleries(study),
        sheets=_sheets(study),
        words=_words(study),
        flagged=study.frame[study.frame["unsafe"] == "yes"],
        provenance=_provenance(study),
        data=scripted({**data(study), "palette": palette}),
        style=_resource("page.css"),
        script=_script(),
        plotly=_resource(PLOTLY),
    )


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("vwtransfer.report", "in_browser"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["delta_name"] = delta_name
    environment.filters["interval"] = _interval
    environment.filters["spoken"] = lambda text: text.replace("_", " ")
    return environment.get_template("page.html")


def _interval(mean: float, low: float, high: float) -> str:
    """`0.860 [0.780, 0.930]`; without an interval for one trial."""
    return f"{mean:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def _resource(name: str) -> str:
    return (files("vwtransfer.report") / "in_browser" / name).read_text(encoding="utf-8")


def _script() -> str:
    """All of the page's script, in a scope of its own."""
    parts = "\n".join(_resource(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n{{\n{parts}}}\n'


def _galleries(study: StudyFolder) -> dict[str, list[Gallery]]:
    found = {"Side by side": list(side_by_side(study))}
    found |= {title: list(galleries(study, kind)) for kind, title in TITLES.items()}
    return {title: shown for title, shown in found.items() if shown}


def _coverage(study: StudyFolder) -> dict[str, list[str]]:
    """Section -> what of the measured words it lacks: `action=figures` may be behind, or chosen."""
    models = in_order(study.frame["evaluated_on"].unique())
    tables = {"activations": study.activations, "neighbours": study.neighbours}
    found = {
        name: [study.lacking(table[table["evaluated_on"] == model], model) for model in models]
        for name, table in tables.items()
        if len(table)
    }
    found["pictures"] = [
        study.lacking(study.pictures[kind], MODEL[kind]) for kind in ("images", "detections")
    ]
    return {name: [line for line in lines if line] for name, lines in found.items()}


def _numbers(study: StudyFolder) -> list[dict[str, Any]]:
    """A table for each dataset and delta: rows by origin, columns by panel, with intervals."""
    found = []
    table = study.table
    columns = [f"{task}: {HEADLINES.get(metric, metric)}" for task, metric in study.panels]
    groups = table.groupby(["dataset", "delta"], observed=True)
    order = study.datasets.index
    for (dataset, delta), part in sorted(
        groups, key=lambda g: (order(g[0][0]), delta_rank(g[0][1]))
    ):
        rows = []
        trained = [task for task in study.tasks if (part["trained_for"] == task).any()]
        for origin in [*trained, *(b for b in BASELINES if (part["trained_for"] == b).any())]:
            own = part[part["trained_for"] == origin]
            for method in sorted(set(own["transfer"]) - {"none"}) or ["none"]:
                shown = own[own["transfer"].isin(["none", method])]
                label = BASELINES.get(origin, f"trained for {origin}")
                if len(study.methods) > 1 and method != "none":
                    label += f", {method}"
                rows.append((label, [_cell(shown, panel) for panel in study.panels]))
        title = f"{dataset}, {delta_name(float(delta))}"
        found.append({"title": title, "columns": columns, "rows": rows})
    return found


def _cell(rows: pd.DataFrame, panel: tuple[str, str]) -> str:
    row = rows[(rows["evaluated_on"] == panel[0]) & (rows["metric"] == panel[1])]
    if row.empty or not row["trials"].iat[0]:
        return "none"
    mean, low, high, trials = row[["mean", "low", "high", "trials"]].iloc[0]
    interval = f" [{low:.2f}, {high:.2f}]" if trials > 1 else ""
    return f"{mean:.2f}{interval} n={trials:.0f}"


def _comparison(study: StudyFolder) -> dict[str, list[dict[str, Any]]]:
    """Transfer method -> rows of ours against theirs."""
    if study.published is None:
        return {}
    table = study.table
    return {
        method: published.compared(
            table[table["transfer"].isin(["none", method])], study.published
        ).to_dict("records")
        for method in study.methods or ["none"]
    }


def _sheets(study: StudyFolder) -> list[tuple[str, Picture]]:
    """The drawn sheets of activations, for readers without scripts."""
    found = sorted((study.folder / "figures").glob("activations-*.png"))
    return [(path.stem, sheet(path)) for path in found]


def _words(study: StudyFolder) -> dict[str, Any]:
    """The table of words for readers without scripts."""
    rows = word_rows(study)
    rows = rows[~rows["trained_for"].isin(BASELINES)]
    near = [name for name in rows if str(name).startswith(("near_", "far_"))]
    values = [f"value{i}" for i in range(len(study.panels))]
    columns = [*("dataset", "trained_for", "concept", "anchor", "delta"), *values, "unsafe", *near]
    rows = rows[columns].assign(delta=rows["delta"].map(delta_name))
    return {"columns": columns, "rows": rows.itertuples(index=False, name=None)}


def _provenance(study: StudyFolder) -> dict[str, Any]:
    known = study.provenance or {}
    machine = known.get("machine") or {}
    git = known.get("git") or {}
    commit = git.get("commit")
    rows = study.frame.drop_duplicates([*OURS, "transfer", "evaluated_on"])
    training, words = _training(study.folder)
    facts = {
        "command": known.get("command"),
        "date of the latest job": known.get("date"),
        "commit": f"{commit}{' (with changes)' if git.get('changed') else ''}" if commit else None,
        "seeds": ", ".join(f"{name} {seed}" for name, seed in (known.get("seeds") or {}).items()),
        "machine": ", ".join(
            f"{value} {name}" if name == "cores" else str(value) for name, value in machine.items()
        ),
        "python": known.get("python"),
        "time of training": _duration(training, words),
        "time of measuring": _duration(float(rows["seconds"].sum()), len(study.words)),
        "report written by": f"vwtransfer {__version__}",
    }
    models = (study.config or {}).get("model") or {}
    return {
        "facts": {name: value or "not recorded" for name, value in facts.items()},
        "models": {
            role: node["checkpoint"]
            for role, node in models.items()
            if isinstance(node, Mapping) and "checkpoint" in node
        },
        "packages": known.get("packages") or {},
        "config": yaml.safe_dump(dict(study.config), sort_keys=False) if study.config else "",
    }


def _training(folder: Path) -> tuple[float, int]:
    """Seconds that words took (each its share of its pack's), and how many words there are."""
    seconds = []
    for path in (folder / "words").rglob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                seconds.append(float((file.metadata() or {})["seconds"]))
        except (SafetensorError, OSError, ValueError, KeyError):
            continue
    return sum(seconds), len(seconds)


def _duration(seconds: float, words: int) -> str | None:
    """`2 h 05 min: 75 s for each of 100 words`; None where no word tells."""
    if not words:
        return None
    minutes = round(seconds / 60)
    total = f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    total = total if minutes else f"{seconds:.0f} s"
    return f"{total}: {seconds / words:.3g} s for each of {words:,} words"

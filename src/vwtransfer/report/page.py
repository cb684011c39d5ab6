"""Puts the page together: what the template shows, and what its script reads."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs
from safetensors import SafetensorError, safe_open

from vwtransfer import __version__, published
from vwtransfer.figures.activations import ANCHOR_MARKERS, CONCEPT_COLOURS, LABELS
from vwtransfer.figures.study import COLOURS
from vwtransfer.report.data import data, scripted, word_rows
from vwtransfer.report.pictures import TITLES, Picture, galleries, whole
from vwtransfer.report.story import story
from vwtransfer.study_folder import StudyFolder
from vwtransfer.summary import BASELINES, HEADLINES, delta_name

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
        "concepts": CONCEPT_COLOURS,
        "anchors": [PLOTLY_MARKERS[marker] for marker in ANCHOR_MARKERS],
        "labels": {label: colour for label, (colour, _) in LABELS.items()},
    }
    return _template().render(
        study=study,
        version=__version__,
        story=story(study),
        figures={method: [whole(path) for path in paths] for method, paths in drawn.items()},
        numbers=_numbers(study),
        comparison=_comparison(study),
        galleries={
            title: list(galleries(study, kind))
            for kind, title in TITLES.items()
            if len(study.pictures[kind])
        },
        sheets=_sheets(study),
        words=_words(study),
        flagged=study.frame[study.frame["unsafe"] == "yes"],
        provenance=_provenance(study),
        data=scripted({**data(study), "palette": palette}),
        style=_resource("page.css"),
        script=_resource("page.js"),
        plotly=get_plotlyjs(),
    )


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("vwtransfer.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["delta_name"] = delta_name
    environment.filters["spoken"] = lambda text: text.replace("_", " ")
    return environment.get_template("page.html")


def _resource(name: str) -> str:
    return (files("vwtransfer.report") / name).read_text(encoding="utf-8")


def _numbers(study: StudyFolder) -> list[dict[str, Any]]:
    """A table for each dataset and delta: rows by origin, columns by panel, with intervals."""
    found = []
    table = study.table
    columns = [f"{task}: {HEADLINES.get(metric, metric)}" for task, metric in study.panels]
    for (dataset, delta), part in table.groupby(["dataset", "delta"], observed=True):
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
    return [(path.stem, whole(path)) for path in found]


def _words(study: StudyFolder) -> dict[str, Any]:
    """The table of words for readers without scripts."""
    rows = word_rows(study)
    rows = rows[~rows["trained_for"].isin(BASELINES)]
    near = [name for name in rows if str(name).startswith(("near_", "far_"))]
    values = [f"value{i}" for i in range(len(study.panels))]
    columns = [*("dataset", "trained_for", "concept", "anchor", "delta"), *values, "unsafe", *near]
    return {"columns": columns, "rows": rows[columns].itertuples(index=False, name=None)}


def _provenance(study: StudyFolder) -> dict[str, Any]:
    known = study.provenance or {}
    machine = known.get("machine") or {}
    git = known.get("git") or {}
    commit = git.get("commit")
    seconds = study.frame.drop_duplicates(
        ["dataset", "concept", "anchor", "delta", "trained_for", "transfer", "evaluated_on", "seed"]
    )["seconds"].sum()
    facts = {
        "command": known.get("command"),
        "date of the latest job": known.get("date"),
        "commit": f"{commit}{' (with changes)' if git.get('changed') else ''}" if commit else None,
        "seeds": ", ".join(f"{name} {seed}" for name, seed in (known.get("seeds") or {}).items()),
        "machine": ", ".join(str(value) for value in machine.values()),
        "python": known.get("python"),
        "time of training": _duration(_training_seconds(study.folder)),
        "time of measuring": _duration(float(seconds)),
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


def _training_seconds(folder: Path) -> float:
    """Sum over the words of their share of the time their pack took."""
    total = 0.0
    for path in (folder / "words").rglob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                total += float((file.metadata() or {}).get("seconds", 0.0))
        except (SafetensorError, OSError, ValueError):
            continue
    return total


def _duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min` or `12 s`, summed over words."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min, summed over words"
    return f"{minutes} min, summed over words" if minutes else f"{seconds:.0f} s, summed over words"

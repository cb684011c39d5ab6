"""Puts the page together: what the template shows, and what its script reads."""

import base64
import gzip
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from vwtransfer import __version__
from vwtransfer.report.answer import answer
from vwtransfer.report.data import data, scripted, word_rows
from vwtransfer.report.figures.activations import ANCHOR_MARKERS, CONCEPT_COLOURS, LABELS
from vwtransfer.report.figures.style import COLOURS, MARKERS
from vwtransfer.report.pictures import (
    TITLES,
    Gallery,
    Picture,
    as_it_is,
    figure,
    galleries,
    lossless,
    sheet,
    side_by_side,
    thumbnail,
)
from vwtransfer.report.provenance import provenance
from vwtransfer.report.study_folder import KINDS, StudyFolder
from vwtransfer.report.summary_text import other_world, summary_text
from vwtransfer.results.schema import BASELINES, WORD
from vwtransfer.results.statistics import LEAST_GAIN
from vwtransfer.results.summary import HEADLINES, delta_name, delta_rank

SCRIPTS = (
    *("data", "filters", "means", "charts", "figure_3", "figure_6", "retention", "activations"),
    *("galleries", "tables", "start"),
)
"""Those in in_browser/, in this order: each uses what stands before it."""
PLOTLY = "plotly/plotly-basic.min.js"
"""The bundle for bars and lines, by `npm pack plotly.js-basic-dist-min`: a quarter of the whole."""
PLOTLY_MARKERS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"},
    **{"P": "cross", "X": "x", "<": "triangle-left", ">": "triangle-right", "*": "star"},
}


def page(study: StudyFolder, drawn: Mapping[str, list[Path]], *, full: bool = False) -> str:
    """The whole HTML page of a study.

    Args:
        study: what its folder holds.
        drawn: transfer method -> the PNG files of figures 3 and 6.
        full: whether pictures and figures are embedded as their files are, and the sheets of
            activations at all.
    """
    first, shown = _galleries(study)
    palette = {
        "models": COLOURS,
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
        summary_text=summary_text(study),
        answer=answer(study),
        first=first,
        figures={method: [figure(path) for path in paths] for method, paths in drawn.items()},
        thumbnail=as_it_is if full else thumbnail,
        figure=as_it_is if full else lossless,
        sheet=sheet if full else None,
        numbers=_numbers(study),
        retention=_retention(study),
        least_gain=LEAST_GAIN,
        comparison=_comparison(study),
        other_world=other_world(study),
        coverage=_coverage(study),
        galleries=shown,
        sheets=_sheets(study),
        words=_words(study),
        flagged=study.frame[study.frame["unsafe"] == "yes"],
        provenance=provenance(study),
        data=scripted({**data(study), "palette": palette}),
        style=_resource("page.css"),
        script=_script(),
        plotly=_packed(_resource(PLOTLY)),
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


def _packed(script: str) -> str:
    """A script as base64 of gzip, which browsers unpack: less than half of it."""
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _script() -> str:
    """All of the page's script, in a scope of its own."""
    parts = "\n".join(_resource(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n{{\n{parts}}}\n'


def _galleries(study: StudyFolder) -> tuple[Gallery | None, dict[str, list[Gallery]]]:
    """What is shown with the answer, and all other galleries by kind."""
    beside = list(side_by_side(study))
    first = beside[0] if beside else None
    found = {"Side by side": beside[1:]}
    found |= {title: list(galleries(study, kind)) for kind, title in TITLES.items()}
    return first, {title: shown for title, shown in found.items() if shown}


def _coverage(study: StudyFolder) -> dict[str, list[str]]:
    """Section -> what of the measured words it lacks: `action=figures` may be behind, or chosen."""
    tables = {"activations": study.activations, "neighbours": study.neighbours}
    found = {
        name: [study.lacking(table, model) for model in study.targets]
        for name, table in tables.items()
        if len(table)
    }
    found["pictures"] = [
        study.lacking(study.pictures[kind], model)
        for kind in ("images", "detections")
        for model in study.targets
        if study.tasks[model] == KINDS[kind]
    ]
    return {name: [line for line in lines if line] for name, lines in found.items()}


def _numbers(study: StudyFolder) -> list[dict[str, Any]]:
    """A table for each dataset and delta: rows by origin, columns by panel, with intervals."""
    found = []
    columns = [f"{model}: {HEADLINES.get(metric, metric)}" for model, metric in study.panels]
    groups = study.table.groupby(["dataset", "delta"], observed=True)
    order = study.datasets.index
    for (dataset, delta), part in sorted(
        groups, key=lambda g: (order(g[0][0]), delta_rank(g[0][1]))
    ):
        rows = []
        for model in study.sources:
            own = part[(part["kind"] == WORD) & (part["source_model"] == model)]
            methods = sorted(set(own["transfer"]) - {"none"})
            for method in methods or ["none"] * bool(len(own)):
                label = f"words of {study.label(model)}"
                label += f", transferred by {method}" if len(study.methods) > 1 else ""
                rows.append((label, _cells(study, own[own["transfer"].isin(["none", method])])))
        for baseline, label in BASELINES.items():
            own = part[part["kind"] == baseline]
            if len(own):
                rows.append((label, _cells(study, own)))
        title = f"{dataset}, {delta_name(float(delta))}"
        found.append({"title": title, "columns": columns, "rows": rows})
    return found


def _cells(study: StudyFolder, rows: pd.DataFrame) -> list[str]:
    """What the table of numbers says in each panel's column."""
    return [
        _cell(rows[(rows["target_model"] == model) & (rows["metric"] == metric)])
        for model, metric in study.panels
    ]


def _cell(row: pd.DataFrame) -> str:
    if row.empty or not row["trials"].iat[0]:
        return "none"
    mean, low, high, trials = row[["mean", "low", "high", "trials"]].iloc[0]
    interval = f" [{low:.2f}, {high:.2f}]" if trials > 1 else ""
    return f"{mean:.2f}{interval} n={trials:.0f}"


def _retention(study: StudyFolder) -> list[dict[str, Any]]:
    """A table for each method and delta: rows source models, columns target models."""
    found = []
    for (method, delta), each in sorted(
        study.retentions.items(), key=lambda item: (item[0][0], delta_rank(item[0][1]))
    ):
        if not each.cells:
            continue
        targets = study.ordered_models({target for _, target in each.directions})
        sources = study.ordered_models({source for source, _ in each.directions})
        rows = [
            (study.label(s), [_estimate(each.directions, s, t) for t in targets]) for s in sources
        ]
        found.append(
            {
                "title": f"{method}, {delta_name(delta)}",
                "columns": [study.label(target) for target in targets],
                "rows": rows,
                "overall": each.overall,
                "capped": each.capped,
                "defined": each.defined,
                "undefined": len(each.undefined),
            }
        )
    return found


def _estimate(directions: Mapping[tuple[str, str], Any], source: str, target: str) -> str:
    if source == target:
        return "own"
    found = directions.get((source, target))
    return "" if found is None else "undefined" if math.isnan(found.value) else str(found)


def _comparison(study: StudyFolder) -> dict[str, list[dict[str, Any]]]:
    """Transfer method -> rows of ours against theirs."""
    if study.published is None:
        return {}
    return {
        method: study.compared(method).to_dict("records") for method in study.methods or ["none"]
    }


def _sheets(study: StudyFolder) -> list[Picture]:
    """The drawn sheets of activations, for readers without scripts."""
    found = sorted((study.folder / "figures").glob("activations-*.png"))
    return [figure(path) for path in found if path.is_file()]


def _words(study: StudyFolder) -> dict[str, Any]:
    """The table of words for readers without scripts."""
    rows = word_rows(study)
    rows = rows[rows["kind"] == WORD]
    near = [name for name in rows if str(name).startswith(("near_", "far_"))]
    values = [f"value{i}" for i in range(len(study.panels))]
    columns = [*("dataset", "source_model", "concept", "anchor", "delta"), *values, "unsafe", *near]
    rows = rows[columns].assign(delta=rows["delta"].map(delta_name))
    return {"columns": columns, "rows": rows.itertuples(index=False, name=None)}

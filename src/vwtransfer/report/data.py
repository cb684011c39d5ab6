"""The numbers that the page draws and filters, as compact JSON: texts once, and then by number."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from vwtransfer.analysis.cluster_purity import FEWEST
from vwtransfer.report.figures.activations import (
    ROW,
    SHEET,
    curves,
    encoder_of,
    of_first_encoder,
    origins_in,
)
from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.results.schema import BASELINES
from vwtransfer.results.statistics import LEAST_GAIN, Estimate, headline
from vwtransfer.results.summary import DATASETS, HEADLINES, delta_rank, in_order

WORD = ["dataset", "kind", "source_model", "concept", "anchor", "delta", "seed"]
MEANS = ["dataset", "delta", "kind", "source_model", "transfer", "target_model", "metric"]
PUBLISHED = ["dataset", "metric", "source_model", "target_model", "delta", "mean"]
GRID = 1000  # steps of a t-SNE map's sides


def data(study: StudyFolder) -> dict[str, Any]:
    """Everything that the page's script reads."""
    words, planned = word_rows(study), _planned(study)
    return {
        "sources": study.sources,
        "targets": study.targets,
        "labels": {model: study.label(model) for model in [*study.sources, *study.targets]},
        "baselines": [name for name in BASELINES if (study.frame["kind"] == name).any()],
        "baseline_labels": BASELINES,
        "datasets": in_order(planned["dataset"], DATASETS),
        "methods": study.methods,
        "panels": [
            {"model": model, "metric": metric, "label": HEADLINES.get(metric, metric)}
            for model, metric in study.panels
        ],
        "means": _columns(study.table[[*MEANS, "mean", "low", "high", "trials"]]),
        "words": _columns(words),
        "planned": _columns(planned),
        "retention": _columns(_retention(study)),
        "headline": _headline(study),
        "least_gain": LEAST_GAIN,
        "published": (
            None
            if study.published is None
            else _columns(study.published[[*PUBLISHED, "ci_low", "ci_high"]])
        ),
        "activations": _activations(study),
    }


def _headline(study: StudyFolder) -> dict[str, int]:
    """Model -> which of the panels is the metric that retention is measured in."""
    rows = headline(study.frame)[["target_model", "metric"]].drop_duplicates().astype(str)
    pairs = rows.itertuples(index=False, name=None)
    return {pair[0]: study.panels.index(pair) for pair in pairs if pair in study.panels}


def _retention(study: StudyFolder) -> pd.DataFrame:
    """A row for each method, delta, direction and dataset; dataset "" for the mean over them."""
    rows = []
    for (method, delta), found in study.retentions.items():
        cells: dict[tuple[str, str, str], Estimate] = dict(found.cells)
        cells |= {(*direction, ""): each for direction, each in found.directions.items()}
        for (source, target, dataset), each in cells.items():
            rows.append((method, delta, source, target, dataset, each.value, each.low, each.high))
    columns = ["method", "delta", "source_model", "target_model", "dataset", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def word_rows(study: StudyFolder) -> pd.DataFrame:
    """A row for each word (and baseline) and transfer method.

    Beside WORD: `method`, `value0`, `value1`, ... of `study.panels` (in its own model, and after
    the transfer in the others), `unsafe`, and for each model with neighbours `near_<model>` (the
    token nearest to each of its vectors) and `far_<model>` (the mean distance of its vectors from
    the anchor, in units of delta).
    """
    frame = study.frame
    parts = []
    for method in study.methods or ["none"]:
        chosen = frame[frame["transfer"].isin(["none", method])]
        wide = chosen.set_index([*WORD, "target_model", "metric"])["value"]
        wide = wide.unstack(["target_model", "metric"])
        values = {f"value{i}": wide[panel] for i, panel in enumerate(study.panels)}
        flags = chosen.groupby(WORD)["unsafe"].agg(_worst)
        part = pd.DataFrame({**values, "unsafe": flags}).reset_index()
        part.insert(len(WORD), "method", method)
        parts.append(part)
    words = pd.concat(parts, ignore_index=True)
    return words if study.neighbours.empty else _with_neighbours(words, study.neighbours)


def _planned(study: StudyFolder) -> pd.DataFrame:
    """A row for each word that there is to be; without a config, what is trained in any model."""
    if study.planned:
        named = {"model": "source_model"}
        return pd.DataFrame([vars(cell) for cell in study.planned]).rename(columns=named)
    words = study.words.drop(columns="source_model").drop_duplicates()
    return words.merge(pd.Series(study.sources, name="source_model"), how="cross")


def _worst(flags: pd.Series) -> str:
    held = set(flags)
    return next((flag for flag in ("yes", "no") if flag in held), "not checked")


def _with_neighbours(words: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    word = [name for name in WORD if name != "kind"]
    key = [*word, "transfer", "target_model"]
    first = of_first_encoder(neighbours)
    nearest = first["nearest"].map(lambda names: names[0])
    found = first.assign(nearest=nearest).groupby(key, observed=True)
    summed = found.agg(near=("nearest", _counted), far=("anchor_distance", "mean")).reset_index()
    for model, part in summed.groupby("target_model", observed=True):
        own = part.drop(columns="target_model").rename(
            columns={"near": f"near_{model}", "far": f"far_{model}"}
        )
        in_domain = own[own["transfer"] == "none"].drop(columns="transfer")
        moved = own[own["transfer"] != "none"].rename(columns={"transfer": "method"})
        each = [in_domain.assign(method=method) for method in words["method"].unique()]
        words = words.merge(pd.concat([*each, moved]), on=[*word, "method"], how="left")
    return words


def _counted(names: Iterable[str]) -> str:
    """The names, with how often each stands there, the most frequent first."""
    ranked = Counter(names).most_common()
    return ", ".join(name if count == 1 else f"{name} \u00d7{count}" for name, count in ranked)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Texts become [names, numbers]; numbers are rounded; inf and nan become null.

    A delta of null is unconstrained: no word has none.
    """
    columns: dict[str, Any] = {}
    for name in frame:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values):
            columns[str(name)] = [_number(value) for value in values.tolist()]
        else:
            codes, names = pd.factorize(values)
            columns[str(name)] = {"names": list(names), "codes": codes.tolist()}
    return columns


def _number(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return value if isinstance(value, int) else round(value, 4)


def _activations(study: StudyFolder) -> list[dict[str, Any]]:
    """A sheet for each dataset, model and delta: maps of layers and curves, for each origin."""
    rows = of_first_encoder(study.activations)
    if rows.empty:
        return []
    measured = curves(rows)
    sheets = []
    models = study.ordered_models(rows["target_model"].unique())
    datasets = in_order(rows["dataset"].unique(), DATASETS)

    def rank(item: tuple[tuple[Any, ...], pd.DataFrame]) -> tuple[Any, ...]:
        """Unconstrained words first."""
        dataset, model, delta, seed = item[0]
        return datasets.index(dataset), delta_rank(delta), models.index(model), seed

    for key, group in sorted(rows.groupby(SHEET, observed=True), key=rank):
        if group.groupby([*ROW, "layer"], observed=True).size().min() < FEWEST:
            continue
        own = measured[(measured[SHEET] == list(key)).all(axis=1)]
        origins = [_origin(origin, group, own) for origin in origins_in(group, key[1], study.tasks)]
        dataset, model, delta, seed = key
        sheets.append(
            {
                "dataset": dataset,
                "model": model,
                "encoder": encoder_of(group, study.tasks),
                "delta": _number(delta),
                "seed": seed,
                "layers": int(group["layers"].iat[0]),
                "origins": origins,
            }
        )
    return sheets


def _origin(origin: tuple[str, str], group: pd.DataFrame, measured: pd.DataFrame) -> dict[str, Any]:
    """The maps and curves of one row of a sheet."""
    words = group[(group[ROW] == list(origin)).all(axis=1)]
    curve = measured[(measured[ROW] == list(origin)).all(axis=1)]
    return {
        "source_model": origin[0],
        "transfer": origin[1],
        "maps": [_map(layer) for _, layer in words.dropna(subset="x").groupby("layer")],
        "curves": _columns(curve[["layer", "label", "measure", "mean", "low", "high", "chance"]]),
    }


def _map(words: pd.DataFrame) -> dict[str, Any]:
    places = words[["x", "y"]].to_numpy()
    low, high = places.min(axis=0), places.max(axis=0)
    steps = np.rint((places - low) / np.maximum(high - low, 1e-9) * GRID).astype(int)
    return {
        "layer": int(words["layer"].iat[0]),
        "words": _columns(words[["concept", "anchor"]]),
        "x": steps[:, 0].tolist(),
        "y": steps[:, 1].tolist(),
    }


def scripted(value: Any) -> str:
    """JSON that may stand in a script element of a page."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

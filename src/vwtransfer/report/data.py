"""The numbers that the page draws and filters, as compact JSON: texts once, and then by number."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from vwtransfer.analysis.cluster_purity import FEWEST
from vwtransfer.report.figures.activations import ROW, SHEET, curves, origins_in
from vwtransfer.report.study_reader import StudyFolder
from vwtransfer.results.summary import BASELINES, DATASETS, HEADLINES, delta_rank, in_order
from vwtransfer.results.summary import KEYS as MEAN_KEYS

WORD = ["dataset", "trained_for", "concept", "anchor", "delta", "seed"]
PUBLISHED = ["dataset", "metric", "trained_for", "delta", "mean", "ci_low", "ci_high"]
GRID = 1000  # steps of a t-SNE map's sides


def data(study: StudyFolder) -> dict[str, Any]:
    """Everything that the page's script reads."""
    words, planned = word_rows(study), _planned(study)
    return {
        "tasks": in_order(planned["trained_for"]),
        "baselines": [name for name in BASELINES if (study.frame["trained_for"] == name).any()],
        "baseline_labels": BASELINES,
        "datasets": in_order(planned["dataset"], DATASETS),
        "methods": study.methods,
        "panels": [
            {"task": task, "metric": metric, "label": HEADLINES.get(metric, metric)}
            for task, metric in study.panels
        ],
        "means": _columns(study.table[[*MEAN_KEYS, "mean", "low", "high", "trials"]]),
        "words": _columns(words),
        "planned": _columns(planned),
        "published": None if study.published is None else _columns(study.published[PUBLISHED]),
        "activations": _activations(study.activations),
    }


def word_rows(study: StudyFolder) -> pd.DataFrame:
    """A row for each word (and baseline) and transfer method.

    Beside WORD: `method`, `value0`, `value1`, ... of `study.panels` (in its own model, and after
    the transfer in the others), `unsafe`, and for each model with neighbours `near_<model>` (the
    vocabulary word nearest to each of its vectors) and `far_<model>` (the mean distance of its
    vectors from the anchor, in units of delta).
    """
    frame = study.frame
    parts = []
    for method in study.methods or ["none"]:
        chosen = frame[frame["transfer"].isin(["none", method])]
        wide = chosen.set_index([*WORD, "evaluated_on", "metric"])["value"]
        wide = wide.unstack(["evaluated_on", "metric"])
        values = {f"value{i}": wide[panel] for i, panel in enumerate(study.panels)}
        flags = chosen.groupby(WORD)["unsafe"].agg(_worst)
        part = pd.DataFrame({**values, "unsafe": flags}).reset_index()
        part.insert(len(WORD), "method", method)
        parts.append(part)
    words = pd.concat(parts, ignore_index=True)
    return words if study.neighbours.empty else _with_neighbours(words, study.neighbours)


def _planned(study: StudyFolder) -> pd.DataFrame:
    """A row for each word that there is to be; without a config, what is trained for any task."""
    if study.planned:
        named = {"task": "trained_for"}
        return pd.DataFrame([vars(cell) for cell in study.planned]).rename(columns=named)
    words = study.words.drop(columns="trained_for").drop_duplicates()
    return words.merge(pd.Series(study.tasks, name="trained_for"), how="cross")


def _worst(flags: pd.Series) -> str:
    held = set(flags)
    return next((flag for flag in ("yes", "no") if flag in held), "not checked")


def _with_neighbours(words: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    key = [*WORD, "transfer", "evaluated_on"]
    nearest = neighbours["nearest"].map(lambda names: names[0])
    found = neighbours.assign(nearest=nearest).groupby(key, observed=True)
    summed = found.agg(near=("nearest", _counted), far=("anchor_distance", "mean")).reset_index()
    for model, part in summed.groupby("evaluated_on", observed=True):
        own = part.drop(columns="evaluated_on").rename(
            columns={"near": f"near_{model}", "far": f"far_{model}"}
        )
        in_domain = own[own["transfer"] == "none"].drop(columns="transfer")
        moved = own[own["transfer"] != "none"].rename(columns={"transfer": "method"})
        each = [in_domain.assign(method=method) for method in words["method"].unique()]
        words = words.merge(pd.concat([*each, moved]), on=[*WORD, "method"], how="left")
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


def _activations(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A sheet for each dataset, model and delta: maps of layers and curves, for each origin."""
    if rows.empty:
        return []
    agreement = curves(rows)
    sheets = []
    models = in_order(rows["evaluated_on"].unique())
    datasets = in_order(rows["dataset"].unique(), DATASETS)

    def rank(item: tuple[tuple[Any, ...], pd.DataFrame]) -> tuple[Any, ...]:
        """Unconstrained words first."""
        dataset, model, delta, seed = item[0]
        return datasets.index(dataset), delta_rank(delta), models.index(model), seed

    for key, group in sorted(rows.groupby(SHEET, observed=True), key=rank):
        if group.groupby([*ROW, "layer"], observed=True).size().min() < FEWEST:
            continue
        own = agreement[(agreement[SHEET] == list(key)).all(axis=1)]
        origins = []
        for origin in origins_in(group, key[1]):
            words = group[(group[ROW] == list(origin)).all(axis=1)]
            curve = own[(own[ROW] == list(origin)).all(axis=1)]
            origins.append(
                {
                    "trained_for": origin[0],
                    "transfer": origin[1],
                    "maps": [_map(layer) for _, layer in words.dropna(subset="x").groupby("layer")],
                    "curves": _columns(
                        curve[["layer", "label", "measure", "mean", "low", "high", "chance"]]
                    ),
                }
            )
        dataset, model, delta, seed = key
        sheets.append(
            {
                "dataset": dataset,
                "model": model,
                "delta": _number(delta),
                "seed": seed,
                "layers": int(group["layers"].iat[0]),
                "origins": origins,
            }
        )
    return sheets


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

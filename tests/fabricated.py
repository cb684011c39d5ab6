"""Results that no model was asked for, in the shape of a study's, to test tables and figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vwtransfer.results import BASELINES, SCHEMA, Record

TASKS = ["generation", "detection", "classification"]
MODELS = {"tiny_sd": "generation", "tiny_owlv2": "detection", "tiny_clip": "classification"}
TWO_GENERATORS = {"tiny_sd": "generation", "tiny_sd_b": "generation", "tiny_owlv2": "detection"}
METRICS = {
    "generation": ["generation_accuracy"],
    "detection": ["mean_average_precision", "mean_average_precision_50_95"],
    "classification": ["classifier_accuracy", "classifier_balanced_accuracy"],
}
LEVELS = {  # rows: task of the word's model, or kind; columns: target task, in the order of TASKS
    "generation": (0.90, 0.30, 0.50),
    "detection": (0.18, 0.80, 0.25),
    "classification": (0.60, 0.45, 0.98),
    "anchor": (0.05, 0.04, 0.06),
    "name": (0.95, 0.85, 0.99),
    "random": (0.10, 0.06, 0.10),
    "chance": (0.10, 0.02, 0.10),  # and 0.5 in the balanced accuracy
}
WITHIN_TASK = 0.6  # of words in another model of their task


def study(
    datasets: Sequence[str] = ("tiny_shapes",),
    words: int = 10,
    deltas: Sequence[float] = (),
    words_at_deltas: int = 3,
    transfer: str = "least_squares",
    models: Mapping[str, str] = MODELS,
) -> pd.DataFrame:
    """A complete study: unconstrained words with baselines, and `deltas` for some of the words.

    Args:
        datasets: their names.
        words: of each model and dataset; there are at most ten concepts.
        deltas: of further words.
        words_at_deltas: how many of them.
        transfer: the method.
        models: name -> task.
    """
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        for delta in (math.inf, *deltas):
            constrained = not math.isinf(delta)
            for source in [*models, *([] if constrained else BASELINES)]:
                for word in range(words_at_deltas if constrained else words):
                    for target, task in models.items():
                        for metric in METRICS[task]:
                            value = _value(
                                rng, _level(source, target, models), source, metric, delta
                            )
                            rows.append(
                                {
                                    "experiment": "demo",
                                    "dataset": dataset,
                                    "concept": f"concept_{word % 10}",
                                    "anchor": f"anchor_{word}",
                                    "delta": delta,
                                    "seed": 0,
                                    **of(source, target, transfer, models),
                                    "metric": metric,
                                    "value": value,
                                    "num_images": 1 if task == "generation" else 200,
                                    "eval_seconds": 0.5,
                                }
                            )
    return pd.DataFrame([vars(Record(**row)) for row in rows])[SCHEMA.names]


def of(
    source: str, target: str, transfer: str = "least_squares", models: Mapping[str, str] = MODELS
) -> dict[str, str]:
    """The columns that say which words are measured where; a source may be a baseline."""
    is_word = source in models
    moved = is_word and source != target
    return {
        "kind": "word" if is_word else source,
        "source_model": source if is_word else "",
        "source_task": models.get(source, ""),
        "transfer": transfer if moved else "none",
        "target_model": target,
        "target_task": models[target],
        "support": "320 tokens" if moved else "",
    }


def _level(source: str, target: str, models: Mapping[str, str]) -> float:
    if source in models and source != target and models[source] == models[target]:
        return WITHIN_TASK
    return LEVELS[models.get(source, source)][TASKS.index(models[target])]


def _value(rng: np.random.Generator, level: float, source: str, metric: str, delta: float) -> float:
    if source != "chance":
        level = 0.05 + (level - 0.05) * (1 if math.isinf(delta) else delta**1.5)
    if metric == "classifier_balanced_accuracy":
        level = 0.5 if source == "chance" else 0.5 + level / 2
    if source == "chance":
        return level
    if metric == "generation_accuracy":
        return float(rng.random() < level)
    return float(np.clip(rng.normal(level, 0.1), 0, 1))

"""Results that no model was asked for, in the shape of a study's, to test tables and figures."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

TASKS = ["generation", "detection", "classification"]
METRICS = {
    "generation": ["generation_accuracy"],
    "detection": ["mean_average_precision", "mean_average_precision_50_95"],
    "classification": ["classifier_accuracy", "classifier_balanced_accuracy"],
}
LEVELS = {  # rows: trained for; columns: evaluated on, in the order of TASKS
    "generation": (0.90, 0.30, 0.50),
    "detection": (0.18, 0.80, 0.25),
    "classification": (0.60, 0.45, 0.98),
    "anchor": (0.05, 0.04, 0.06),
    "name": (0.95, 0.85, 0.99),
    "random": (0.10, 0.06, 0.10),
    "chance": (0.10, 0.02, 0.10),  # and 0.5 in the balanced accuracy
}


def study(
    datasets: Sequence[str] = ("tiny_shapes",),
    words: int = 10,
    deltas: Sequence[float] = (),
    words_at_deltas: int = 3,
    transfer: str = "least_squares",
) -> pd.DataFrame:
    """A complete study: unconstrained words with baselines, and `deltas` for some of the words."""
    rng = np.random.default_rng(0)
    rows = []
    for dataset in datasets:
        for delta in (math.inf, *deltas):
            count = words if math.isinf(delta) else words_at_deltas
            for trained_for, levels in LEVELS.items():
                if trained_for not in TASKS and not math.isinf(delta):
                    continue
                for word in range(count):
                    for evaluated_on, level in zip(TASKS, levels, strict=True):
                        own = trained_for == evaluated_on or trained_for not in TASKS
                        for metric in METRICS[evaluated_on]:
                            rows.append(
                                {
                                    "experiment": "demo",
                                    "dataset": dataset,
                                    "concept": f"concept_{word % 10}",
                                    "anchor": f"anchor_{word}",
                                    "delta": delta,
                                    "trained_for": trained_for,
                                    "transfer": "none" if own else transfer,
                                    "evaluated_on": evaluated_on,
                                    "metric": metric,
                                    "value": _value(rng, trained_for, metric, level, delta),
                                    "examples": 1 if evaluated_on == "generation" else 200,
                                    "seed": 0,
                                    "seconds": 0.5,
                                }
                            )
    return pd.DataFrame(rows)


def _value(
    rng: np.random.Generator, trained_for: str, metric: str, level: float, delta: float
) -> float:
    if trained_for != "chance":
        level = 0.05 + (level - 0.05) * (1 if math.isinf(delta) else delta**1.5)
    if metric == "classifier_balanced_accuracy":
        level = 0.5 if trained_for == "chance" else 0.5 + level / 2
    if trained_for == "chance":
        return level
    if metric == "generation_accuracy":
        return float(rng.random() < level)
    return float(np.clip(rng.normal(level, 0.1), 0, 1))

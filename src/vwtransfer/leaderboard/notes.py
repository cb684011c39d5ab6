"""What a reader of the leaderboard should know of its making, a line for each thing."""

import os
import platform
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil
import torch

from vwtransfer.datasets import left_out_of
from vwtransfer.evaluation.specs import UNCONSTRAINED
from vwtransfer.models.devices import torch_device
from vwtransfer.results.statistics import headline
from vwtransfer.study import Study
from vwtransfer.words.cells import delta_text

FEW = 20  # concepts


def notes(study: Study, frame: pd.DataFrame) -> list[str]:
    """Sizes, settings and machine.

    Args:
        study: that the board is of.
        frame: its results.
    """
    config = study.config
    words = {(cell.dataset, cell.concept, cell.anchor) for cell in study.cells}
    concepts = {(cell.dataset, cell.concept) for cell in study.cells}
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    memory = psutil.virtual_memory().total / 2**30
    return [
        f"{len(concepts)} concepts of {', '.join(study.datasets)}; {len(words)} pairs of concept "
        f"and anchor, {len(study.cells)} words trained, {kind_of_words(study.cells[0].delta)}, "
        f"seed {config.seed}.",
        *(
            [
                f"Intervals rest on {len(concepts)} concepts, which are few: resampling fewer than "
                f"{FEW} shows less spread than there is."
            ]
            if len(concepts) < FEW
            else []
        ),
        *_models(study, frame),
        *_supports(study, frame),
        f"Times on {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads "
        f"of {os.cpu_count()} cores, {memory:.0f} GB, on the "
        f"{torch_device(config.device).type}; torch {torch.__version__}.",
        f"Command: `{command}`, {datetime.now(UTC).date()}.",
    ]


def kind_of_words(delta: float) -> str:
    """Unconstrained words, or those of which delta."""
    return "unconstrained" if delta == UNCONSTRAINED else f"delta {delta_text(delta)}"


def _models(study: Study, frame: pd.DataFrame) -> Iterator[str]:
    """What each model is and does, and how long its words are trained."""
    rows = headline(frame, study.cells[0].delta)
    for name in dict.fromkeys(name for pair in study.config.direction for name in pair):
        model = study.suite.models[name]
        metrics = rows.loc[rows["target_model"] == name, "metric"].astype(str).unique()
        checkpoint = str(study.config.model.models[name].get("checkpoint", "a class of its own"))
        read_from = "" if Path(checkpoint).is_dir() else f" {checkpoint},"
        yield (
            f"Model `{name}`:{read_from} {model.task}, measured in {' and '.join(metrics)}; "
            f"{model.training.steps} steps a word."
        )


def _supports(study: Study, frame: pd.DataFrame) -> Iterator[str]:
    """What the maps were fitted on, as the rows say it."""
    exclude = study.config.transfer.exclude
    left_out = "all tokens count"
    if exclude != "none":
        count = sum(len(left_out_of(each, exclude)) for each in study.datasets.values())
        shared = {"strict": " and what shares two attributes with one of them"}
        shared["related"] = " and what shares an attribute with one of them"
        near = shared.get(exclude, "")
        left_out = (
            "support and prompts leave out all that the concepts of the words' dataset are called"
            f"{near}, {count} descriptions over the datasets"
        )
    yield (
        "Every method is fitted for each direction and dataset; "
        f"transfer.exclude={exclude}: {left_out}."
    )
    mapped = frame[frame["transfer"] != "none"]
    for dataset, rows in mapped.groupby("dataset", observed=True):
        pairs = rows[["source_model", "target_model", "support"]].drop_duplicates()
        if pairs["support"].nunique() == 1:
            yield f"Support on {dataset}: {pairs['support'].iloc[0]}, in every direction."
            continue
        each = "; ".join(
            f"{row.source_model} to {row.target_model} {row.support}"
            for row in pairs.itertuples(index=False)
        )
        yield f"Support on {dataset}: {each}."

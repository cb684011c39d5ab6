"""A study's folder that no model was trained for, of any size, to draw figures and reports from.

Its numbers are drawn at random and its experiment is called "made-up".
"""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image

from composing import compose
from vwtransfer.config import Config
from vwtransfer.evaluation.saved_images import image_path
from vwtransfer.evaluation.specs import specs_of
from vwtransfer.models.suite import build
from vwtransfer.results import Record, finish, write_part
from vwtransfer.words.cells import cells
from vwtransfer.words.store import Word, WordStore

TASKS = ("generation", "detection", "classification")
METRICS = {
    "generation": ["generation_accuracy"],
    "detection": ["mean_average_precision", "mean_average_precision_50_95"],
    "classification": ["classifier_accuracy", "classifier_balanced_accuracy"],
}
OWN, MOVED, ANCHOR, NAME = 0.9, 0.35, 0.1, 0.95


def config_of(folder: Path, *overrides: str) -> Config:
    """The config of a made-up study in `folder`."""
    return compose(
        [f"outputs={folder.parent}", f"name={folder.name}", "progress=false", *overrides]
    )


def make_up(folder: Path, *overrides: str, pictures: bool = False) -> Config:
    """Writes config, results and, if asked, kept generations of the study that `overrides` name."""
    config = config_of(folder, *overrides)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.composed, sort_keys=False))
    rows = rows_of(config)
    for dataset, part in rows.groupby("dataset"):
        write_part(folder, [Record(**row) for row in part.to_dict("records")], str(dataset))
    finish(folder)
    if pictures:
        _pictures(folder, rows)
    return config


def rows_of(config: Config) -> pd.DataFrame:
    """Results of all words, their anchors and names in every model, complete."""
    rng = np.random.default_rng(0)
    words = pd.DataFrame(
        [(c.dataset, c.concept, c.anchor, c.delta, c.seed, c.model) for c in cells(config)],
        columns=["dataset", "concept", "anchor", "delta", "seed", "source_model"],
    )
    words = words.assign(kind="word", source_task=words["source_model"].map(config.model.task_of))
    anchors = words[["dataset", "concept", "anchor", "seed"]].drop_duplicates()
    anchors = anchors.assign(kind="anchor", delta=math.inf, source_model="", source_task="")
    names = anchors.drop_duplicates(["dataset", "concept"]).assign(kind="name", anchor="")
    parts = []
    for model in config.model.models:
        task = config.model.task_of(model)
        for metric in METRICS[task]:
            part = pd.concat([words, anchors, names], ignore_index=True)
            parts.append(part.assign(target_model=model, target_task=task, metric=metric))
    frame = pd.concat(parts, ignore_index=True)
    own = frame["source_model"] == frame["target_model"]
    moved = (frame["kind"] == "word") & ~own
    level = np.where(own, OWN, MOVED) * np.where(np.isinf(frame["delta"]), 1, frame["delta"])
    for kind, reached in (("anchor", ANCHOR), ("name", NAME)):
        level = np.where(frame["kind"] == kind, reached, level)
    spread = np.clip(rng.normal(level, 0.1), 0, 1)
    drawn = (rng.random(len(frame)) < level).astype(float)
    value = np.where(frame["metric"] == "generation_accuracy", drawn, spread)
    return frame.assign(
        experiment="made-up",
        transfer=np.where(moved, "least_squares", "none"),
        support=np.where(moved, "320 tokens", ""),
        value=value,
        num_images=20,
        eval_seconds=0.5,
    )


def make_up_words(config: Config) -> None:
    """Writes every word of the study: the vectors of its anchor and of three words of its name."""
    suite = build(config, torch.device("cpu"))
    store = WordStore(config.folder / "words")
    for cell in cells(config):
        model = suite.models[cell.model]
        name = config.dataset[cell.dataset].concepts[cell.concept].split()
        anchor_D, *rows = model.text.anchor_rows([cell.anchor, *name])
        part = min(1.0, cell.delta)
        vectors = torch.stack([anchor_D, *(anchor_D + part * (row_D - anchor_D) for row_D in rows)])
        word = Word(cell, vectors, model.task, model.text.identity, "made-up", 0.0, 1.0)
        store.save(word)


def _pictures(folder: Path, rows: pd.DataFrame, side: int = 64) -> None:
    """A noisy gradient for each generation, different for every word; targets of one colour."""
    for dataset, concept in rows[["dataset", "concept"]].drop_duplicates().itertuples(index=False):
        path = folder / "targets" / dataset / f"{concept}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), "white").save(path)
    rng = np.random.default_rng(1)
    drawn = rows[(rows["metric"] == "generation_accuracy") & (rows["kind"] != "name")]
    ramp = np.linspace(0, 200, side)
    for spec in specs_of(drawn):
        colours = rng.integers(0, 256, 3)
        pixels = (ramp[:, None, None] + colours + rng.integers(0, 40, (side, side, 3))) % 256
        path = image_path(folder / "images", spec, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def made_up_activations(
    dataset: str,
    concepts: Sequence[str],
    anchors: Sequence[str],
    layers: int = 3,
    source: str = "tiny_clip",
    target: str = "tiny_clip",
) -> dict[str, list[object]]:
    """Columns as in activations/: words lie by anchor in the first layer, by concept at last."""
    rng = np.random.default_rng(2)
    rows: list[dict[str, object]] = []
    for layer, (i, concept), (j, anchor) in product(
        range(1, layers + 1), enumerate(concepts), enumerate(anchors)
    ):
        turned = (layer - 1) / max(1, layers - 1)
        place = (1 - turned) * j + turned * i
        rows.append(
            {
                "dataset": dataset,
                "source_model": source,
                "transfer": "none" if source == target else "least_squares",
                "target_model": target,
                "delta": math.inf,
                "seed": 0,
                "concept": concept,
                "anchor": anchor,
                "encoder": "text",
                "place": 0,
                "encoders": 1,
                "layer": layer,
                "layers": layers,
                "x": 10 * place + rng.normal(),
                "y": rng.normal(),
                "anchor_purity": 1 - turned,
                "anchor_silhouette": 0.5 - turned,
                "concept_purity": turned,
                "concept_silhouette": turned - 0.5,
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}

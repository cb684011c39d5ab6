"""Figures 4, 5 and 8 to 11 of the paper, and what cut text encoders draw, from kept pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from vwtransfer.report.figures.grid import draw_grid
from vwtransfer.report.study_reader import StudyFolder
from vwtransfer.results.summary import BASELINES, delta_name, in_order
from vwtransfer.words.cells import delta_text

MADE = {"images": "generated", "detections": "detected"}
MODEL = {"images": "generation", "detections": "detection"}
NOTES = {
    "images": "Every picture of a row is from the same noise.",
    "detections": "Each row is one held-out image: the best box, and others of a score from 0.1.",
}
FIGURES = {  # those of the paper with the same content, where there is one
    ("images", "imagenet"): "Figure 10",
    ("images", "dreambooth"): "Figure 11",
    ("detections", "coco"): "Figure 8",
    ("detections", "pascal"): "Figure 9",
}
CHOSEN = ["dataset", "delta", "seed"]
ORIGIN = ["trained_for", "transfer"]
FIGURE_4 = ("generation", "classification", "detection")  # its rows, from above
MOST_WORDS = 10


def galleries(study: StudyFolder) -> list[Callable[[], list[Path]]]:
    """What draws each figure of a study's pictures and gives its files."""
    kept = {kind: _words(study.pictures[kind]) for kind in (*MADE, "cut")}
    todo: list[Callable[[], list[Path]]] = []
    for kind in MADE:
        for _, group in kept[kind].groupby([*CHOSEN, *ORIGIN]):
            if group.groupby("concept")["anchor"].nunique().max() > 1:
                todo.append(partial(_figure_5, study, kind, group))
    todo += [partial(_figure_4, study, group) for _, group in kept["images"].groupby(CHOSEN)]
    todo += [partial(_cut, study, group) for _, group in kept["cut"].groupby(CHOSEN)]
    return todo


def _words(kept: pd.DataFrame) -> pd.DataFrame:
    return kept[~kept["trained_for"].isin(BASELINES)]


def made_by(trained_for: str, transfer: str, evaluated_on: str) -> str:
    """Where a word comes from, in words."""
    if transfer == "none":
        return f"words trained for {trained_for}"
    return f"words trained for {trained_for}, transferred to {evaluated_on} by {transfer}"


def _file(folder: Path, *parts: object) -> Path:
    return folder / "figures" / "-".join(map(str, parts))


def _figure_5(study: StudyFolder, kind: str, group: pd.DataFrame) -> list[Path]:
    """Target concept by anchor word (figures 5 and 8 to 11)."""
    dataset, delta, seed = group[CHOSEN].iloc[0]
    trained_for, transfer = group[ORIGIN].iloc[0]
    first = group[group["number"] == group["number"].min()]
    found = first.set_index(["concept", "anchor"])["path"].to_dict()
    concepts, anchors = study.sides(group)
    figure = FIGURES.get((kind, dataset), "Figure 5")
    origin = [trained_for] if transfer == "none" else [trained_for, transfer]
    return draw_grid(
        lambda i, j: found.get((concepts[i], anchors[j])),
        [spoken(concept) for concept in concepts],
        anchors,
        _file(study.folder, kind, dataset, *origin, delta_text(delta), seed),
        title=f"{figure}: {MADE[kind]} by target concept and anchor word\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}\n"
        f"{made_by(trained_for, transfer, MODEL[kind])}",
        notes=[NOTES[kind]],
        across="anchor word",
        down="target concept",
    )


def _figure_4(study: StudyFolder, group: pd.DataFrame) -> list[Path]:
    """Target images, and what words of each task draw (figure 4)."""
    dataset, delta, seed = group[CHOSEN].iloc[0]
    words, origins = paired(study, group)[:MOST_WORDS], origins_of(group)
    found = group.drop_duplicates(["trained_for", "transfer", "concept", "anchor"]).set_index(
        ["trained_for", "transfer", "concept", "anchor"]
    )["path"]

    def picture(i: int, j: int) -> Path | None:
        if i == 0:
            return target(study.folder, dataset, words[j][0])
        return found.get((*origins[i - 1], *words[j]))

    return draw_grid(
        picture,
        ["target", *(task if way == "none" else f"{task}, {way}" for task, way in origins)],
        [f"{spoken(concept)} / {anchor}" for concept, anchor in words],
        _file(study.folder, "figure_4", dataset, delta_text(delta), seed),
        title=f"Figure 4: target images, and what words trained for each task generate\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}",
        notes=["Every picture of a column below the target is from the same noise."],
        across="target concept / anchor word",
        down="trained for",
    )


def origins_of(group: pd.DataFrame) -> list[tuple[str, str]]:
    """(trained_for, transfer) of kept pictures, in the order of figure 4."""
    return [
        (task, transfer)
        for task in in_order(group["trained_for"], FIGURE_4)
        for transfer in sorted(group.loc[group["trained_for"] == task, "transfer"].unique())
    ]


def target(folder: Path, dataset: str, concept: str) -> Path | None:
    """The training image of a concept that `action=figures` keeps; None where it does not lie."""
    path = folder / "targets" / dataset / f"{concept}.png"
    return path if path.is_file() else None


def paired(study: StudyFolder, group: pd.DataFrame) -> list[tuple[str, str]]:
    """(concept, anchor) of words in `group`: each concept once, with different anchors if it can.

    The words that most rows hold come first in line for a concept.
    """
    counts = group.groupby(["concept", "anchor"]).size()
    anchors = sorted(group["anchor"].unique())
    chosen = []
    dataset = group["dataset"].iat[0]
    for i, concept in enumerate(study.ordered(dataset, "concepts", group["concept"])):
        own = counts[concept]
        best = own[own == own.max()].index
        wanted = anchors[i % len(anchors)]
        chosen.append((concept, wanted if wanted in best else best[0]))
    return chosen


def _cut(study: StudyFolder, group: pd.DataFrame) -> list[Path]:
    """What is generated with the first N blocks of the text encoder (figure 7)."""
    dataset, delta, seed = group[CHOSEN].iloc[0]
    group = group[group["transfer"].isin(["none", *sorted(set(group["transfer"]) - {"none"})[:1]])]
    words = sorted(set(zip(group["concept"], group["anchor"], strict=True)))
    origins = in_order(group["trained_for"].unique())
    counts = sorted(group["number"].unique())
    columns = [(task, count) for task in origins for count in counts]
    found = group.set_index(["trained_for", "number", "concept", "anchor"])["path"].to_dict()
    return draw_grid(
        lambda i, j: found.get((*columns[j], *words[i])),
        [f"{spoken(concept)} / {anchor}" for concept, anchor in words],
        [f"{task}, first {count}" for task, count in columns],
        _file(study.folder, "cut", dataset, delta_text(delta), seed),
        title=f"Figure 7: generated with the first blocks of the text encoder only\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}",
        notes=["The final norm stays. Columns: the task that words were trained for, and N."],
        across="trained for, first N blocks",
        down="target concept / anchor word",
    )


def spoken(concept: str) -> str:
    """A concept's key as it is read."""
    return concept.replace("_", " ")

"""Figures 4, 5 and 8 to 11 of the paper, and what cut text encoders draw, from saved pictures."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from vwtransfer.report.figures.grid import draw_grid
from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.results.schema import WORD
from vwtransfer.results.summary import delta_name, in_order, label_of
from vwtransfer.words.cells import delta_text

MADE = {"images": "generated", "detections": "detected"}
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
ORIGIN = ["source_model", "transfer", "target_model"]
FIGURE_4 = ("generation", "classification", "detection")  # its rows, from above
MOST_WORDS = 10
ENCODERS = "N counts the blocks of the model's first text encoder; further ones are cut alike."


def galleries(study: StudyFolder) -> list[Callable[[], list[Path]]]:
    """What draws each figure of a study's pictures and gives its files."""
    saved = {kind: words_in(study.pictures[kind]) for kind in (*MADE, "cut")}
    todo: list[Callable[[], list[Path]]] = []
    for kind in MADE:
        for _, group in saved[kind].groupby([*CHOSEN, *ORIGIN]):
            if group.groupby("concept")["anchor"].nunique().max() > 1:
                todo.append(partial(_figure_5, study, kind, group))
    todo += [partial(_figure_4, study, group) for _, group in saved["images"].groupby(CHOSEN)]
    by_generator = saved["cut"].groupby([*CHOSEN, "target_model"])
    todo += [partial(_cut, study, group) for _, group in by_generator]
    return todo


def words_in(saved: pd.DataFrame) -> pd.DataFrame:
    """The pictures of trained words."""
    return saved[saved["kind"] == WORD]


def made_by(source: str, transfer: str, target: str, tasks: Mapping[str, str]) -> str:
    """Where a word comes from, and which model shows it."""
    if transfer == "none":
        return f"words trained in {label_of(source, tasks)}"
    by = f"transferred to {label_of(target, tasks)} by {transfer}"
    return f"words trained in {label_of(source, tasks)}, {by}"


def _file(folder: Path, *parts: object) -> Path:
    return folder / "figures" / "-".join(map(str, parts))


def _figure_5(study: StudyFolder, kind: str, group: pd.DataFrame) -> list[Path]:
    """Target concept by anchor word (figures 5 and 8 to 11)."""
    dataset, delta, seed = group[CHOSEN].iloc[0]
    source, transfer, target = group[ORIGIN].iloc[0]
    first = group[group["number"] == group["number"].min()]
    found = first.set_index(["concept", "anchor"])["path"].to_dict()
    concepts, anchors = study.sides(group)
    figure = FIGURES.get((kind, dataset), "Figure 5")
    origin = [source] if transfer == "none" else [source, transfer, "in", target]
    return draw_grid(
        lambda i, j: found.get((concepts[i], anchors[j])),
        [spoken(concept) for concept in concepts],
        anchors,
        _file(study.folder, kind, dataset, *origin, delta_text(delta), seed),
        title=f"{figure}: {MADE[kind]} by target concept and anchor word\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}\n"
        f"{made_by(source, transfer, target, study.tasks)}",
        notes=[NOTES[kind]],
        across="anchor word",
        down="target concept",
    )


def _figure_4(study: StudyFolder, group: pd.DataFrame) -> list[Path]:
    """Target images, and what words of each model generate."""
    dataset, delta, seed = group[CHOSEN].iloc[0]
    words, origins = paired(study, group)[:MOST_WORDS], origins_of(group, study.tasks)
    found = group.drop_duplicates([*ORIGIN, "concept", "anchor"])
    paths = found.set_index([*ORIGIN, "concept", "anchor"])["path"].to_dict()

    def picture(i: int, j: int) -> Path | None:
        if i == 0:
            return target_image(study.folder, dataset, words[j][0])
        path: Path | None = paths.get((*origins[i - 1], *words[j]))
        return path

    return draw_grid(
        picture,
        ["target", *(origin_label(origin, group) for origin in origins)],
        [f"{spoken(concept)} / {anchor}" for concept, anchor in words],
        _file(study.folder, "figure_4", dataset, delta_text(delta), seed),
        title=f"Figure 4: target images, and what words trained in each model generate\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}",
        notes=["Pictures that one model drew, in a column below the target, share their noise."],
        across="target concept / anchor word",
        down="trained in",
    )


def origins_of(group: pd.DataFrame, tasks: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(source model, transfer, target model) of saved pictures, in the order of figure 4."""
    held = set(group[ORIGIN].itertuples(index=False, name=None))
    order = in_order(tasks.values(), FIGURE_4)

    def rank(origin: tuple[str, str, str]) -> tuple[object, ...]:
        source, transfer, target = origin
        task = tasks.get(source, "")
        return order.index(task) if task in order else len(order), source, target, transfer

    return sorted(held, key=rank)


def origin_label(origin: tuple[str, str, str], group: pd.DataFrame) -> str:
    """`tiny_clip, ridge`; with the model that drew it where there are several."""
    source, transfer, target = origin
    where = f" in {target}" if group["target_model"].nunique() > 1 else ""
    return f"{source}{where}" + (f", {transfer}" if transfer != "none" else "")


def target_image(folder: Path, dataset: str, concept: str) -> Path | None:
    """The training image of a concept that `action=figures` saves; None where it does not lie."""
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
    target = group["target_model"].iat[0]
    group = group[group["transfer"].isin(["none", *sorted(set(group["transfer"]) - {"none"})[:1]])]
    words = sorted(set(zip(group["concept"], group["anchor"], strict=True)))
    counts = sorted(group["number"].unique())
    sources = study.ordered_models(group["source_model"])
    columns = [(source, count) for source in sources for count in counts]
    found = group.set_index(["source_model", "number", "concept", "anchor"])["path"].to_dict()
    return draw_grid(
        lambda i, j: found.get((*columns[j], *words[i])),
        [f"{spoken(concept)} / {anchor}" for concept, anchor in words],
        [f"{source}, first {count}" for source, count in columns],
        _file(study.folder, "cut", dataset, "in", target, delta_text(delta), seed),
        title=f"Figure 7: generated by {target} with the first blocks of its text encoder only\n"
        f"study {study.name}; {dataset}; {delta_name(delta)}",
        notes=[f"The final norm stays. Columns: the model of the words, and N. {ENCODERS}"],
        across="trained in, first N blocks",
        down="target concept / anchor word",
    )


def spoken(concept: str) -> str:
    """A concept's key as it is read."""
    return concept.replace("_", " ")

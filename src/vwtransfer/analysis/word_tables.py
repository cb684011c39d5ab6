"""Tables about words that need their model: which vocabulary words are near, and which words.

    neighbours/*.parquet    a row for each vector of a word; the columns are described at NEIGHBOURS
    activations/*.parquet   a row for each word and layer; the columns are described at ACTIVATIONS

Read them with `pandas.read_parquet` of the folder.

Shapes: N words, K vectors per word, D embedding width, S support, H layers.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vwtransfer.analysis.cluster_purity import purity, silhouette, t_sne
from vwtransfer.analysis.neighbours import nearest
from vwtransfer.analysis.part_files import is_current, write_part
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.models.activations import end_of_text, layers_shown
from vwtransfer.models.vocabulary import WORD_END
from vwtransfer.tasks import Task
from vwtransfer.words.cells import delta_text

GROUP = ("dataset", "trained_for", "transfer", "evaluated_on", "delta", "seed")
NEIGHBOURS = {
    **dict.fromkeys(GROUP, "as in the results"),
    "concept": "as in the results",
    "anchor": "as in the results",
    "vector": "which of the word's vectors, from 0",
    "anchor_distance": "how far it is from the anchor, in the evaluated model's units of delta",
    "nearest": "the nearest vocabulary words, the nearest first",
    "distance": "how far each of these is, in the same units",
}
ACTIVATIONS = {
    **dict.fromkeys(GROUP, "as in the results"),
    "concept": "as in the results",
    "anchor": "as in the results",
    "layer": "block of the text encoder, from 1",
    "layers": "how many blocks it has",
    "x": "place on the t-SNE map of this layer; nan in layers that have none",
    "y": "the same",
    **{
        f"{label}_{measure}": f"{measure} of the word among its group, by {label}"
        for label in ("anchor", "concept")
        for measure in ("purity", "silhouette")
    },
}
NEIGHBOURS_KEPT = 5


def group_of(query: EvalSpec) -> tuple[str, str, str, str, float, int]:
    """What the words of a part share: the values of GROUP."""
    return (
        query.dataset,
        query.trained_for,
        query.transfer,
        query.evaluated_on,
        query.delta,
        query.seed,
    )


def write_tables(
    folder: Path, task: Task, support: Sequence[str], group: Sequence[EvalSpec], vectors_NKD: Tensor
) -> None:
    """Writes the parts of words of one group, unless they stand there already.

    Args:
        folder: the study's.
        task: the model that the words are looked at in.
        support: the vocabulary words among which neighbours are looked for.
        group: words that share the values of GROUP.
        vectors_NKD: their vectors in the space of that model.
    """
    first = group[0]
    made = f"{first.trained_for}-{first.transfer}-in-{first.evaluated_on}"
    name = f"{first.dataset}-{made}-{delta_text(first.delta)}-{first.seed}.parquet"
    made_from = _identity(group, vectors_NKD, task)
    path = folder / "neighbours" / name
    if not is_current(path, made_from):
        write_part(path, _neighbours(task, support, group, vectors_NKD), made_from)
    path = folder / "activations" / name
    if task.text.blocks is not None and not is_current(path, made_from):
        write_part(path, _activations(task, group, vectors_NKD), made_from)


def _identity(group: Sequence[EvalSpec], vectors_NKD: Tensor, task: Task) -> str:
    digest = hashlib.sha256(repr([group, task.template, task.text.identity]).encode())
    digest.update(vectors_NKD.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _neighbours(
    task: Task, support: Sequence[str], group: Sequence[EvalSpec], vectors_NKD: Tensor
) -> dict[str, list[object]]:
    anchors_ND = torch.stack([task.text.word_row(query.anchor) for query in group])
    names = [token.removesuffix(WORD_END) for token in support]
    found = nearest(vectors_NKD, anchors_ND, task.text.rows(support), names, NEIGHBOURS_KEPT)
    rows = [
        (
            *group_of(query),
            query.concept,
            query.anchor,
            k,
            found.anchor_NK[n, k].item(),
            found.words_NKT[n][k],
            found.distance_NKT[n, k].tolist(),
        )
        for n, query in enumerate(group)
        for k in range(vectors_NKD.shape[1])
    ]
    return _columns(list(NEIGHBOURS), rows)


def _activations(
    task: Task, group: Sequence[EvalSpec], vectors_NKD: Tensor
) -> dict[str, list[object]]:
    points_HND = end_of_text(task.text, task.template, vectors_NKD).numpy()
    layers = len(points_HND)
    anchors = [query.anchor for query in group]
    concepts = [query.concept for query in group]
    nowhere = [[float("nan")] * 2] * len(group)
    rows: list[tuple[object, ...]] = []
    for layer, points_ND in enumerate(points_HND, 1):
        places = t_sne(points_ND, group[0].seed) if layer in layers_shown(layers) else nowhere
        measured = [
            measure(points_ND, labels)
            for labels in (anchors, concepts)
            for measure in (purity, silhouette)
        ]
        for n, query in enumerate(group):
            numbers = [float(value) for value in (*places[n], *(each[n] for each in measured))]
            rows.append((*group_of(query), query.concept, query.anchor, layer, layers, *numbers))
    return _columns(list(ACTIVATIONS), rows)


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}

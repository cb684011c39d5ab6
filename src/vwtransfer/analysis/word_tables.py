"""Tables about words that need their model: which tokens are near, and which words.

    neighbours/*.parquet    a row for each vector of a word; the columns are described at NEIGHBOURS
    activations/*.parquet   a row for each word and layer; the columns are described at ACTIVATIONS

Both have such rows for each text encoder of the model that a word is looked at in. Read them with
`pandas.read_parquet` of the folder.

Shapes: N words, K vectors per word, D width of a model's embedding space, H layers.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vwtransfer.analysis.cluster_purity import purity, silhouette, t_sne
from vwtransfer.analysis.neighbours import nearest
from vwtransfer.analysis.part_files import is_current, write_part
from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.models import Model
from vwtransfer.models.activations import end_of_text, layers_shown
from vwtransfer.words.cells import delta_text

GROUP = ("dataset", "source_model", "transfer", "target_model", "delta", "seed")
_BOTH = {
    **dict.fromkeys((*GROUP, "concept", "anchor"), "as in the results"),
    "encoder": "the text encoder of the target model",
    "place": "which of the model's text encoders it is, from 0",
}
NEIGHBOURS = {
    **_BOTH,
    "vector": "which of the word's vectors, from 0",
    "anchor_distance": "how far it is from the anchor, in the encoder's units of delta",
    "nearest": "the nearest tokens that the model counts, the nearest first",
    "distance": "how far each of these is, in the same units",
}
ACTIVATIONS = {
    **_BOTH,
    "encoders": "how many the model has",
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
NUM_NEIGHBOURS = 5


def group_of(spec: EvalSpec) -> tuple[str, str, str, str, float, int]:
    """What the words of a part share: the values of GROUP."""
    origin = (spec.dataset, spec.source_model, spec.transfer, spec.target_model)
    return *origin, spec.delta, spec.seed


def write_tables(folder: Path, model: Model, group: Sequence[EvalSpec], words_NKD: Tensor) -> None:
    """Writes the parts of words of one group, unless they stand there already.

    Args:
        folder: the study's.
        model: that the words are looked at in.
        group: words that share the values of GROUP.
        words_NKD: they themselves, in the space of that model.
    """
    first = group[0]
    made = f"{first.source_model}-{first.transfer}-in-{first.target_model}"
    name = f"{first.dataset}-{made}-{delta_text(first.delta)}-{first.seed}.parquet"
    made_from = _identity(group, words_NKD, model)
    path = folder / "neighbours" / name
    if not is_current(path, made_from):
        write_part(path, _neighbours(model, group, words_NKD), made_from)
    path = folder / "activations" / name
    has_blocks = any(encoder.blocks is not None for encoder in model.text.encoders.values())
    if has_blocks and not is_current(path, made_from):
        write_part(path, _activations(model, group, words_NKD), made_from)


def _identity(group: Sequence[EvalSpec], words_NKD: Tensor, model: Model) -> str:
    asked = [group, model.prompt_template, model.text.identity]
    digest = hashlib.sha256(repr(asked).encode())
    digest.update(words_NKD.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _neighbours(
    model: Model, group: Sequence[EvalSpec], words_NKD: Tensor
) -> dict[str, list[object]]:
    anchors_ND = model.text.anchor_rows([spec.anchor for spec in group])
    rows: list[tuple[object, ...]] = []
    for place, (name, encoder) in enumerate(model.text.encoders.items()):
        part, tokens = model.text.slices[name], model.text.eligible[name]
        found = nearest(
            words_NKD[..., part],
            anchors_ND[:, part],
            encoder.rows(tokens),
            [encoder.vocabulary.spelling(token)[0] for token in tokens],
            NUM_NEIGHBOURS,
        )
        rows += [
            (
                *(*group_of(spec), spec.concept, spec.anchor, name, place, k),
                found.anchor_NK[n, k].item(),
                found.names_NKT[n][k],
                found.distance_NKT[n, k].tolist(),
            )
            for n, spec in enumerate(group)
            for k in range(words_NKD.shape[1])
        ]
    return _columns(list(NEIGHBOURS), rows)


def _activations(
    model: Model, group: Sequence[EvalSpec], words_NKD: Tensor
) -> dict[str, list[object]]:
    anchors = [spec.anchor for spec in group]
    concepts = [spec.concept for spec in group]
    nowhere = [[float("nan")] * 2] * len(group)
    encoders = len(model.text.encoders)
    rows: list[tuple[object, ...]] = []
    for place, (name, encoder) in enumerate(model.text.encoders.items()):
        if encoder.blocks is None:
            continue
        own_NKD = words_NKD[..., model.text.slices[name]]
        points_HND = end_of_text(encoder, model.prompt_template, own_NKD).numpy()
        layers = len(points_HND)
        for layer, points_ND in enumerate(points_HND, 1):
            mapped = t_sne(points_ND, group[0].seed) if layer in layers_shown(layers) else nowhere
            measured = [
                measure(points_ND, labels)
                for labels in (anchors, concepts)
                for measure in (purity, silhouette)
            ]
            for n, spec in enumerate(group):
                numbers = [float(value) for value in (*mapped[n], *(each[n] for each in measured))]
                which = (spec.concept, spec.anchor, name, place, encoders, layer, layers)
                rows.append((*group_of(spec), *which, *numbers))
    return _columns(list(ACTIVATIONS), rows)


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}

"""What is asked first: how much of a word survives, overall and in each direction."""

import math
from dataclasses import dataclass

from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.report.summary_text import own_text
from vwtransfer.results.statistics import Estimate
from vwtransfer.results.summary import delta_name


@dataclass(frozen=True)
class Share:
    """A cell of the table of directions.

    Attributes:
        text: the retention, or why there is none.
        filled: how much of the cell is coloured, from 0 to 1.
    """

    text: str
    filled: float


@dataclass(frozen=True)
class Answer:
    """What stands at the top of the page.

    Attributes:
        delta: of the words, in words.
        methods: transfer methods, the one that keeps most first: name, retention, and capped.
        targets: the models that the directions of the first method lead to.
        rows: each source model, with a share for each of `targets`.
        pairs: how many pairs of direction and dataset the first method's mean is over.
        own: what words reach in their own model; all there is to say where none was transferred.
    """

    delta: str
    methods: list[tuple[str, str, str]]
    targets: list[str]
    rows: list[tuple[str, list[Share]]]
    pairs: int
    own: str


def answer(study: StudyFolder) -> Answer:
    """Of the words of the largest delta, unconstrained ones where there are any."""
    delta = max(study.deltas, default=math.inf)
    found = {method: study.retentions[method, delta] for method in study.methods}
    found = {method: each for method, each in found.items() if each.defined}
    ranked = sorted(found, key=lambda method: (-found[method].capped.value, method))
    own = own_text(study, delta)
    if not ranked:
        return Answer(delta_name(delta), [], [], [], 0, own)
    best = found[ranked[0]]
    sources = study.ordered_models({source for source, _ in best.directions})
    targets = study.ordered_models({target for _, target in best.directions})
    return Answer(
        delta=delta_name(delta),
        methods=[(name, str(found[name].overall), str(found[name].capped)) for name in ranked],
        targets=[study.label(target) for target in targets],
        rows=[
            (study.label(s), [_share(s, t, best.directions.get((s, t))) for t in targets])
            for s in sources
        ],
        pairs=best.defined,
        own=own,
    )


def _share(source: str, target: str, found: Estimate | None) -> Share:
    if source == target:
        return Share("its own", 0.0)
    if found is None:
        return Share("not measured", 0.0)
    if math.isnan(found.value):
        return Share("undefined", 0.0)
    return Share(str(found), min(max(found.value, 0.0), 1.0))

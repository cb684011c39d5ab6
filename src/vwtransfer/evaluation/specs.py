"""What is measured: every word in its own model and in the others, and baselines beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import pandas as pd

from vwtransfer.words.cells import Cell

NO_TRANSFER = "none"
UNCONSTRAINED = float("inf")
WORD, CHANCE = "word", "chance"


@dataclass(frozen=True, order=True)
class EvalSpec:
    """A word, or what stands in for one, to be measured in one model; identifies its rows.

    Attributes:
        kind: word, or the baseline: anchor, name, random or chance.
        source_model: the model of the word; "" for a baseline.
        transfer: the method that mapped it, or "none".
        target_model: the model that measures it.
    """

    dataset: str
    concept: str
    anchor: str
    delta: float
    kind: str
    source_model: str
    transfer: str
    target_model: str
    seed: int

    @classmethod
    def of_word(cls, cell: Cell, target_model: str, transfer: str) -> "EvalSpec":
        """A trained word, mapped by `transfer` unless that is "none"."""
        where = (cell.dataset, cell.concept, cell.anchor, cell.delta)
        return cls(*where, WORD, cell.model, transfer, target_model, cell.seed)

    @classmethod
    def of_baseline(cls, cell: Cell, target_model: str, kind: str) -> "EvalSpec":
        """What a word is compared with; a concept's name and chance know no anchor."""
        anchor = "" if kind in ("name", CHANCE) else cell.anchor
        where = (cell.dataset, cell.concept, anchor, UNCONSTRAINED)
        return cls(*where, kind, "", NO_TRANSFER, target_model, cell.seed)

    @property
    def cell(self) -> Cell:
        """The trained word that is measured."""
        return Cell(
            self.dataset, self.source_model, self.concept, self.anchor, self.delta, self.seed
        )


SPEC = [field.name for field in fields(EvalSpec)]
"""The columns of results that say what a row is of."""


def specs_of(frame: pd.DataFrame) -> list[EvalSpec]:
    """What each row of results is of."""
    return [EvalSpec(*row) for row in frame[SPEC].itertuples(index=False)]


def eval_specs(
    cells: Iterable[Cell],
    target_model: str,
    sources: Sequence[str],
    methods: Sequence[str],
    baselines: Sequence[str],
) -> list[EvalSpec]:
    """What is measured in one model.

    Args:
        cells: trained words of one dataset.
        target_model: the model; its own words are measured as trained.
        sources: models whose words are mapped into it.
        methods: the transfer methods that map them, each of which does.
        baselines: some of "anchor" (the anchor word itself), "name" (the concept's own name) and
            "random" (random vectors of the anchor's norm). Chance goes with any of them.
    """
    kinds = [*baselines, CHANCE] if baselines else []
    found: set[EvalSpec] = set()
    for cell in cells:
        if cell.model == target_model:
            found.add(EvalSpec.of_word(cell, target_model, NO_TRANSFER))
        elif cell.model in sources:
            found.update(EvalSpec.of_word(cell, target_model, method) for method in methods)
        found.update(EvalSpec.of_baseline(cell, target_model, kind) for kind in kinds)
    return sorted(found)

"""What is measured: every word in its own model and in the others, and baselines beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vwtransfer.words.cells import Cell

NO_TRANSFER = "none"
UNCONSTRAINED = float("inf")


@dataclass(frozen=True, order=True)
class EvalSpec:
    """A word, or what stands in for one, to be measured in one model; identifies its rows.

    Attributes:
        trained_for: the task of the word, or the baseline: anchor, name, random or chance.
        transfer: the method that mapped it, or "none".
        evaluated_on: the task whose model measures it.
    """

    dataset: str
    concept: str
    anchor: str
    delta: float
    trained_for: str
    transfer: str
    evaluated_on: str
    seed: int

    @classmethod
    def of_word(cls, cell: Cell, evaluated_on: str, transfer: str) -> "EvalSpec":
        """A trained word, mapped by `transfer` unless that is "none"."""
        return cls(
            cell.dataset,
            cell.concept,
            cell.anchor,
            cell.delta,
            cell.task,
            transfer,
            evaluated_on,
            cell.seed,
        )

    @property
    def of_image(self) -> dict[str, Any]:
        """What the file of an image that a model makes of it is named after."""
        named = asdict(self)
        del named["evaluated_on"]  # one model makes images
        return named

    @property
    def cell(self) -> Cell:
        """The trained word that is measured."""
        return Cell(
            self.dataset, self.trained_for, self.concept, self.anchor, self.delta, self.seed
        )


def queries(
    cells: Iterable[Cell],
    evaluated_on: str,
    sources: Sequence[str],
    transfer: str,
    baselines: Sequence[str],
) -> list[EvalSpec]:
    """What is measured in one model.

    Args:
        cells: trained words of one dataset.
        evaluated_on: the model's task; its own words are measured as trained.
        sources: tasks whose words are mapped into it.
        transfer: the method that maps them.
        baselines: some of "anchor" (the anchor word itself), "name" (the concept's own name) and
            "random" (random vectors of the anchor's norm). Chance goes with any of them.
    """
    found: set[EvalSpec] = set()
    for cell in cells:
        if cell.task == evaluated_on:
            found.add(EvalSpec.of_word(cell, evaluated_on, NO_TRANSFER))
        elif cell.task in sources:
            found.add(EvalSpec.of_word(cell, evaluated_on, transfer))
        for baseline in baselines:
            anchor = "" if baseline == "name" else cell.anchor
            found.add(
                EvalSpec(
                    cell.dataset,
                    cell.concept,
                    anchor,
                    UNCONSTRAINED,
                    baseline,
                    NO_TRANSFER,
                    evaluated_on,
                    cell.seed,
                )
            )
        if baselines:
            found.add(
                EvalSpec(
                    cell.dataset,
                    cell.concept,
                    "",
                    UNCONSTRAINED,
                    "chance",
                    NO_TRANSFER,
                    evaluated_on,
                    cell.seed,
                )
            )
    return sorted(found)

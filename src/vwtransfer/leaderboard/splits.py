"""Which concepts a transfer method may be developed on (dev), and which it is ranked on (test).

split=all takes both, of a dataset that nobody developed on.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import yaml

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.words.cells import Cell, cells


@cache
def _named() -> dict[str, list[str]]:
    """The dev split of each dataset that dev_concepts.yaml names."""
    text = (Path(__file__).parent / "dev_concepts.yaml").read_text(encoding="utf-8")
    named: dict[str, list[str]] = yaml.safe_load(text)
    return named


def dev_concepts(dataset: str, concepts: Sequence[str]) -> set[str]:
    """The concepts of a dataset's dev split.

    As dev_concepts.yaml names them; of a dataset that it does not name, the half whose
    sha256("<dataset>/<concept>") is least, which is how the named ones were chosen.
    """
    if dataset in _named():
        return set(_named()[dataset])

    def digest(concept: str) -> str:
        return hashlib.sha256(f"{dataset}/{concept}".encode()).hexdigest()

    return set(sorted(concepts, key=digest)[: len(concepts) // 2])


def cells_of_split(config: Config) -> list[Cell]:
    """The study's cells whose concepts are of `benchmark.split`; all: every one.

    Raises:
        UserError: `concept` names one of the other split, or nothing is left.
    """
    split = config.benchmark.split
    allowed = {
        name: {
            concept
            for concept in dataset.concepts
            if split == "all"
            or (concept in dev_concepts(name, list(dataset.concepts))) == (split == "dev")
        }
        for name, dataset in config.dataset.items()
    }
    asked = {concept for product in config.products for concept in product.concepts or ()}
    others = sorted(asked - set().union(*allowed.values()))
    if others:
        raise UserError(
            f"concept={others[0]}: is not of the {split} split, and a run of that split does not "
            f"look at it. Choose among {', '.join(sorted(set().union(*allowed.values())))}."
        )
    found = [cell for cell in cells(config) if cell.concept in allowed[cell.dataset]]
    if not found:
        raise UserError(f"benchmark.split={split}: no concept of this study is in it.")
    return found

"""A study as its folder tells it: what figures and the page are made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vwtransfer.config.saved import read_mapping
from vwtransfer.errors import UserError
from vwtransfer.results import legacy, published
from vwtransfer.results.schema import WORD
from vwtransfer.results.statistics import Retention, retention
from vwtransfer.results.summary import (
    DATASETS,
    in_order,
    incomplete,
    label_of,
    means,
    models_in_order,
    panels,
)
from vwtransfer.words.cells import Cell, parse_key

KINDS = {"images": "generation", "detections": "detection", "cut": "generation"}
"""Folder of pictures -> the task of the models that make them."""
CELL = ["dataset", "source_model", "concept", "anchor", "delta", "seed"]
"""The columns that say which trained word a row is of, in the order of a Cell's fields."""


@dataclass(frozen=True)
class StudyFolder:
    """A study as its folder tells it.

    Attributes:
        folder: where it lies.
        frame: the results.
        planned: the words it was to train, as far as its config and files say.
        tasks: model -> its task, models in order: by task, then by name.
        config: the composed config of its latest job; None where there is none.
        provenance: versions, machine and command of its latest job; None where there is none.
        activations, neighbours: empty where `action=figures` was not run.
        pictures: "images", "detections" and "cut" -> a row for each picture.
        remarks: what is missing, damaged or left out, a line each.
    """

    folder: Path
    frame: pd.DataFrame
    planned: list[Cell]
    tasks: Mapping[str, str]
    config: Mapping[str, Any] | None
    provenance: Mapping[str, Any] | None
    activations: pd.DataFrame
    neighbours: pd.DataFrame
    pictures: Mapping[str, pd.DataFrame]
    remarks: list[str]

    @property
    def name(self) -> str:
        """The experiment's."""
        return str(self.frame["experiment"].iat[0])

    @property
    def world(self) -> str:
        """The name of the suite of models; empty where the folder does not say."""
        model = (self.config or {}).get("model") or {}
        return str(model.get("name", ""))

    @cached_property
    def trained(self) -> pd.DataFrame:
        """The results of trained words, without the baselines."""
        return self.frame[self.frame["kind"] == WORD]

    @cached_property
    def words(self) -> pd.DataFrame:
        """Trained words that have rows: CELL, each once."""
        return self.trained[CELL].drop_duplicates()

    @cached_property
    def sources(self) -> list[str]:
        """The models that words were, or are to be, trained in."""
        return self.ordered_models(
            [*self.trained["source_model"].unique(), *{cell.model for cell in self.planned}]
        )

    @cached_property
    def targets(self) -> list[str]:
        """The models that words were measured in."""
        return self.ordered_models(self.frame["target_model"].unique())

    @cached_property
    def methods(self) -> list[str]:
        """Transfer methods among the results."""
        return sorted(set(self.frame["transfer"]) - {"none"})

    @cached_property
    def datasets(self) -> list[str]:
        """Those there are results on."""
        return in_order(self.frame["dataset"].unique(), DATASETS)

    @cached_property
    def table(self) -> pd.DataFrame:
        """`summary.means` of the results."""
        return means(self.frame, self.planned)

    @property
    def incomplete(self) -> str:
        """How many words are missing or failed; empty where all are there."""
        return incomplete(self.frame, self.planned)

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """(target model, metric) pairs that are shown."""
        return panels(self.table)

    @cached_property
    def deltas(self) -> list[float]:
        """Those of the trained words, unconstrained ones last."""
        return sorted(self.trained["delta"].unique())

    @cached_property
    def retentions(self) -> dict[tuple[str, float], Retention]:
        """(transfer method, delta) -> retention."""
        return {
            (method, delta): retention(self.frame, method, delta)
            for method in self.methods
            for delta in self.deltas
        }

    @cached_property
    def published(self) -> pd.DataFrame | None:
        """The paper's values of this study's models and datasets; None where there are none.

        With `source_model` and `target_model`: a further generator, say, is not held against them.
        """
        found = published.of_study(self.world, self.datasets)
        if found is None:
            return None
        models = legacy.MODELS[published.WORLD]
        found = found.assign(
            source_model=found["source_task"].map(models),
            target_model=found["metric"].map(published.TASK).map(models),
        )
        held = found["source_model"].isin(self.sources) & found["target_model"].isin(self.targets)
        return found[held].reset_index(drop=True) if held.any() else None

    def compared(self, method: str) -> pd.DataFrame:
        """`published.compared` of in-domain words and those of one transfer method; see there."""
        assert self.published is not None
        ours = self.frame[self.frame["transfer"].isin(["none", method])]
        both = published.compared(ours, self.published, self.planned)
        pairs = self.published[["source_model", "target_model"]].drop_duplicates()
        return both.merge(pairs, on=["source_model", "target_model"])

    def label(self, model: str) -> str:
        """A model's name with its task: `tiny_sd (generation)`."""
        return label_of(model, self.tasks)

    def ordered_models(self, models: Iterable[str]) -> list[str]:
        """Some models, each once, by task and name."""
        return models_in_order({model: self.tasks.get(model, "") for model in models})

    def sides(self, words: pd.DataFrame) -> tuple[list[str], list[str]]:
        """The concepts and anchors of a grid: of `words` and of those that are still to be made.

        Args:
            words: of one dataset, source model, delta and seed.
        """
        dataset, model, delta, seed = words[["dataset", "source_model", "delta", "seed"]].iloc[0]
        key = (dataset, model, delta, seed)
        planned = [c for c in self.planned if (c.dataset, c.model, c.delta, c.seed) == key]
        concepts = {*words["concept"], *(cell.concept for cell in planned)}
        anchors = {*words["anchor"], *(cell.anchor for cell in planned)}
        return (
            self.ordered(dataset, "concepts", concepts),
            self.ordered(dataset, "anchors", anchors),
        )

    def ordered(self, dataset: str, kind: str, names: Iterable[str]) -> list[str]:
        """Some of the "concepts" or "anchors" of a dataset, each once, as its config has them."""
        datasets = (self.config or {}).get("dataset")
        node = datasets.get(dataset) if isinstance(datasets, Mapping) else None
        listed = node.get(kind) if isinstance(node, Mapping) else None
        known = listed if isinstance(listed, list | Mapping) else ()
        return in_order(names, list(dict.fromkeys(str(each) for each in known)))

    @cached_property
    def failures(self) -> list[tuple[Cell, str, str]]:
        """Words that diverged: which, at what step, and why; as far as the folder tells."""
        failed = self.trained.loc[self.trained["value"].isna(), CELL].drop_duplicates()
        rows = failed.itertuples(index=False, name=None)
        found = {Cell(*row): ("not recorded", "not recorded") for row in rows}
        for path in sorted((self.folder / "words").rglob("*.failed.json")):
            key = path.relative_to(self.folder / "words").as_posix().removesuffix(".failed.json")
            try:
                record = read_mapping(path)
                cell = self._named(parse_key(key))
                found[cell] = str(record["step"]), str(record["reason"])
            except (UserError, OSError, ValueError, KeyError):
                continue
        return [(cell, *how) for cell, how in sorted(found.items())]

    def _named(self, cell: Cell) -> Cell:
        """The cell with its model's name, where a former version filed it by task."""
        models = legacy.MODELS.get(self.world, {})
        name = cell.model if cell.model in self.tasks else models.get(cell.model, cell.model)
        return replace(cell, model=name)

    def lacking(self, shown: pd.DataFrame, model: str) -> str:
        """How many words measured in a model its part of a table holds; empty where all.

        Args:
            shown: a table or pictures of words in all models.
            model: by which words were measured.
        """
        key = [*CELL, "transfer"]
        rows = self.trained[self.trained["target_model"] == model].dropna(subset="value")
        measured = rows[key].drop_duplicates()
        own = shown[shown["target_model"] == model] if len(shown) else shown
        # a table without rows knows no types to merge by
        held = len(measured.merge(own[key].drop_duplicates(), on=key)) if len(own) else 0
        if held == len(measured):
            return ""
        return (
            f"Of the {len(measured):,} words measured in {self.label(model)}, {held:,} are shown "
            "here: action=figures makes the others."
        )

"""A benchmark's folder, opened again: its words, and what maps of them may know."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from vwtransfer import results
from vwtransfer.config import Config
from vwtransfer.config.saved import read_config
from vwtransfer.datasets import Dataset, left_out_of
from vwtransfer.models.suite import Suite, build
from vwtransfer.models.support import Support, support_of
from vwtransfer.results.statistics import headline
from vwtransfer.study import LEFT_OUT, data_loading
from vwtransfer.tasks import Measurement
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore


@dataclass(frozen=True)
class BenchmarkFolder:
    """What `action=benchmark` left in a folder."""

    path: Path

    @cached_property
    def config(self) -> Config:
        """Its config."""
        return read_config(self.path / "config.yaml")

    @cached_property
    def suite(self) -> Suite:
        """Its models."""
        return build(self.config, torch.device("cpu"))

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """Its datasets."""
        return data_loading.opened(self.config)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Its rows of the headline metrics."""
        return headline(results.read(self.path)).astype({"transfer": str})

    def rows(self, method: str, dataset: Dataset, target: str, source: str = "") -> pd.DataFrame:
        """Those of words that a method brought into a model, from one model or from all."""
        frame = self.frame
        like = (frame["transfer"] == method) & (frame["dataset"] == dataset.name)
        like &= frame["target_model"] == target
        return frame[like & (frame["source_model"] == source)] if source else frame[like]

    def words(self, rows: pd.DataFrame) -> tuple[list[Cell], Tensor]:
        """The words [N, K, D] of rows, in their order."""
        store = WordStore(self.path / "words")
        cells = [
            Cell(*map(str, (r.dataset, r.source_model, r.concept, r.anchor)), r.delta, r.seed)
            for r in rows.itertuples()
        ]
        return cells, torch.stack([store.load(cell).vectors_KD for cell in cells])

    def known(self, dataset: Dataset, source: str, target: str) -> tuple[Support, Sequence[str]]:
        """The support of a map, and the descriptions that its prompts leave out."""
        here, there = (self.suite.models[name].text for name in (source, target))
        exclude = self.config.transfer.exclude
        excluded = left_out_of(dataset, exclude)
        return support_of(here, there).without(excluded, LEFT_OUT[exclude]), excluded

    @staticmethod
    def renamed(rows: pd.DataFrame, name: str, measured: Sequence[Measurement]) -> pd.DataFrame:
        """Rows with what was measured instead, under another method's name."""
        pairs = zip(measured, rows["metric"].astype(str), strict=True)
        return rows.assign(transfer=name, value=[each.values[metric] for each, metric in pairs])

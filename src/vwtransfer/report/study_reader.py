"""What a study's folder holds, and what it lacks: read once, for figures and report."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from omegaconf import OmegaConf

from vwtransfer import results
from vwtransfer.analysis.part_files import read_parts
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError, nearest
from vwtransfer.evaluation.saved_images import kept_images
from vwtransfer.results import published
from vwtransfer.results.summary import (
    BASELINES,
    DATASETS,
    in_order,
    incomplete,
    means,
    panels,
    shortfalls,
)
from vwtransfer.words.cells import Cell, cells, parse_key

KINDS = ("images", "detections", "cut")
OURS = ["dataset", "trained_for", "concept", "anchor", "delta", "seed"]


@dataclass(frozen=True)
class StudyFolder:
    """A study as its folder tells it.

    Attributes:
        folder: where it lies.
        frame: the results.
        planned: the words it was to train, as far as its config and files say.
        config: the composed config of its latest job; None where there is none.
        provenance: versions, machine and command of its latest job; None where there is none.
        activations, neighbours: empty where `action=figures` was not run.
        pictures: "images", "detections" and "cut" -> a row for each picture.
        remarks: what is missing, damaged or left out, a line each.
    """

    folder: Path
    frame: pd.DataFrame
    planned: list[Cell]
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
    def table(self) -> pd.DataFrame:
        """`summary.means` of the results."""
        return means(self.frame, self.planned)

    @property
    def incomplete(self) -> str:
        """How many words are missing or failed; empty where all are there."""
        return incomplete(self.frame, self.planned)

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """(evaluated_on, metric) pairs that are shown."""
        return panels(self.table)

    def sides(self, words: pd.DataFrame) -> tuple[list[str], list[str]]:
        """The concepts and anchors of a grid: of `words` and of those that are still to be made.

        Args:
            words: of one dataset, trained_for, delta and seed.
        """
        dataset, task, delta, seed = words[["dataset", "trained_for", "delta", "seed"]].iloc[0]
        key = (dataset, task, delta, seed)
        planned = [c for c in self.planned if (c.dataset, c.task, c.delta, c.seed) == key]
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
        return in_order(names, list(node.get(kind) or ()) if isinstance(node, Mapping) else ())

    @property
    def methods(self) -> list[str]:
        """Transfer methods among the results."""
        return sorted(set(self.frame["transfer"]) - {"none"})

    @property
    def datasets(self) -> list[str]:
        """Those there are results on."""
        return in_order(self.frame["dataset"].unique(), DATASETS)

    @property
    def tasks(self) -> list[str]:
        """The tasks that words were trained for."""
        return in_order(sorted(set(self.frame["trained_for"]) - set(BASELINES)))

    @cached_property
    def published(self) -> pd.DataFrame | None:
        """The paper's values, where this is one of its studies."""
        return published.of_study(self.world, self.datasets)

    @cached_property
    def words(self) -> pd.DataFrame:
        """Trained words that have rows: OURS, each once."""
        frame = self.frame
        return frame.loc[~frame["trained_for"].isin(BASELINES), OURS].drop_duplicates()

    @cached_property
    def failures(self) -> list[tuple[Cell, str, str]]:
        """Words that diverged: which, at what step, and why; as far as the folder tells."""
        rows = self.frame[self.frame["value"].isna() & ~self.frame["trained_for"].isin(BASELINES)]
        failed = rows[OURS].drop_duplicates().itertuples(index=False, name=None)
        found = {Cell(*row): ("not recorded", "not recorded") for row in failed}
        for path in sorted((self.folder / "words").rglob("*.failed.json")):
            key = path.relative_to(self.folder / "words").as_posix().removesuffix(".failed.json")
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found[parse_key(key)] = str(record["step"]), str(record["reason"])
            except (ValueError, KeyError, TypeError):
                continue
        return [(cell, *how) for cell, how in sorted(found.items())]

    def lacking(self, shown: pd.DataFrame, model: str) -> str:
        """How many words measured in a model a table or pictures of it hold; empty where all."""
        key = [*OURS, "transfer"]
        rows = self.frame[self.frame["evaluated_on"] == model].dropna(subset="value")
        measured = rows.loc[~rows["trained_for"].isin(BASELINES), key].drop_duplicates()
        # a table without rows knows no types to merge by
        held = len(measured.merge(shown[key].drop_duplicates(), on=key)) if len(shown) else 0
        if held == len(measured):
            return ""
        return (
            f"Of the {len(measured):,} words measured in {model}, {held:,} are shown here: "
            "action=figures makes the others."
        )


def read_study(folder: Path) -> StudyFolder:
    """Reads a study's folder.

    Raises:
        UserError: it holds no results, none that can be read, or those of several experiments.
    """
    remarks: list[str] = []
    frame = _results(folder, remarks)
    config = _config(folder, remarks)
    planned = _planned(folder, frame, config, remarks)
    activations, neighbours = (
        _parts(folder / kind, kind, remarks) for kind in ("activations", "neighbours")
    )
    remarks += shortfalls(frame, planned)
    return StudyFolder(
        folder=folder,
        frame=frame,
        planned=planned,
        config=config,
        provenance=_provenance(folder, remarks),
        activations=activations,
        neighbours=neighbours,
        pictures={kind: kept_images(folder / kind) for kind in KINDS},
        remarks=remarks,
    )


def _results(folder: Path, remarks: list[str]) -> pd.DataFrame:
    if not folder.is_dir():
        there = sorted(
            path.name for path in folder.parent.glob("*/") if (path / "results").is_dir()
        )
        raise UserError(
            f"name={folder.name}: there is no such experiment in {folder.parent}. "
            f"{nearest(folder.name, there)}"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        frame = results.read(folder)
    remarks += [str(each.message) for each in caught if each.category is UserWarning]
    experiments = sorted(frame["experiment"].unique())
    if not experiments:
        raise UserError(f"{folder} holds no results yet: its tables have no row.")
    if len(experiments) > 1:
        raise UserError(
            f"{folder} mixes the results of {len(experiments)} experiments "
            f"({', '.join(experiments)}), whose means would mean nothing. Move the files of all "
            f"but one out of {folder / 'results'}, and delete results.parquet."
        )
    return frame


def _config(folder: Path, remarks: list[str]) -> Mapping[str, Any] | None:
    path = folder / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        values = None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        remarks.append(f"config.yaml cannot be read ({' '.join(str(error).split())}).")
        return None
    if not isinstance(values, Mapping):
        remarks.append(
            "config.yaml is missing: which words were planned, and by what models, is not known."
        )
        return None
    return values


def _provenance(folder: Path, remarks: list[str]) -> Mapping[str, Any] | None:
    path = folder / "provenance.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remarks.append("provenance.json is missing: versions and machine are not known.")
        return None
    except ValueError as error:
        remarks.append(f"provenance.json cannot be read ({error}).")
        return None
    return values if isinstance(values, Mapping) else None


def _planned(
    folder: Path, frame: pd.DataFrame, config: Mapping[str, Any] | None, remarks: list[str]
) -> list[Cell]:
    """The cells of the latest config, and all that have results or a word: jobs share a folder.

    A config that this version does not understand plans nothing.
    """
    if config is None:
        return []
    try:
        planned = set(cells(validated(OmegaConf.create(dict(config)))))
    except UserError as error:
        remarks.append(
            f"config.yaml says what this version cannot follow: {error} Which words were "
            "planned is told from the results alone."
        )
        return []
    words = frame.loc[~frame["trained_for"].isin(BASELINES), OURS].drop_duplicates()
    planned |= {Cell(*row) for row in words.itertuples(index=False, name=None)}
    for path in (folder / "words").rglob("*.safetensors"):
        key = path.relative_to(folder / "words").with_suffix("").as_posix()
        try:
            planned.add(parse_key(key))
        except ValueError:
            continue
    return sorted(planned)


def _parts(folder: Path, kind: str, remarks: list[str]) -> pd.DataFrame:
    frame, damaged = read_parts(folder)
    if damaged:
        remarks.append(
            f"{kind}: {len(damaged)} files cannot be read and are left out, such as "
            f"{damaged[0].name}. Run action=figures again."
        )
    return frame

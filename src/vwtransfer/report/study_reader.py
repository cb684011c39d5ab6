"""Reads a study's folder once, for figures and report: what it holds, and what it lacks.

A folder of a former version, whose rows named tasks in place of models, is read as far as it goes.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from vwtransfer import results
from vwtransfer.analysis.part_files import read_parts
from vwtransfer.analysis.word_tables import ACTIVATIONS, NEIGHBOURS
from vwtransfer.config import Config
from vwtransfer.config.saved import config_of, read_mapping
from vwtransfer.errors import UserError, nearest
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.report.possible_rows import possible_parts, possible_results
from vwtransfer.report.study_folder import CELL, KINDS, StudyFolder
from vwtransfer.results import legacy
from vwtransfer.results.schema import WORD
from vwtransfer.results.summary import models_in_order, shortfalls, tasks_of
from vwtransfer.words.cells import Cell, each_cell, parse_key

MOST_PLANNED = 2_000_000  # words
LATER = {"encoder", "place", "encoders"}  # columns that tables of a former version lack


def read_study(folder: Path) -> StudyFolder:
    """Reads a study's folder.

    Raises:
        UserError: it holds no results, none that can be read, or those of several experiments.
    """
    remarks: list[str] = []
    frame = _results(folder, remarks)
    unknown = "config.yaml is missing: which words were planned, and by what models, is not known."
    config = _mapping(folder / "config.yaml", ("model", "dataset"), unknown, remarks)
    checked, asked = _checked(folder, config, remarks)
    planned = [] if checked is None else _planned(folder, frame, asked)
    activations, neighbours = (
        _parts(folder / kind, kind, remarks) for kind in ("activations", "neighbours")
    )
    remarks += shortfalls(frame, planned)
    return StudyFolder(
        folder=folder,
        frame=frame,
        planned=planned,
        tasks=_tasks(frame, checked),
        config=config,
        provenance=_mapping(
            folder / "provenance.json",
            ("machine", "seeds", "packages"),
            "provenance.json is missing: versions and machine are not known.",
            remarks,
        ),
        activations=activations,
        neighbours=neighbours,
        pictures={kind: _pictures(folder / kind, remarks) for kind in KINDS},
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
    said = [str(each.message) for each in caught if each.category is UserWarning]
    remarks += dict.fromkeys(said)  # rows of several concepts are read more than once
    frame = possible_results(frame, remarks)
    experiments = sorted(frame["experiment"].unique())
    if not experiments:
        why = " ".join(["its tables have no row.", *remarks])
        raise UserError(f"{folder} holds no results yet: {why}")
    if len(experiments) > 1:
        raise UserError(
            f"{folder} mixes the results of {len(experiments)} experiments "
            f"({', '.join(experiments)}), whose means would mean nothing. Move the files of all "
            f"but one out of {folder / 'results'}, and delete results.parquet."
        )
    return frame


def _mapping(
    path: Path, keys: Sequence[str], missing: str, remarks: list[str]
) -> Mapping[str, Any] | None:
    """What a file holds, whose values of `keys` are mappings; None, with a remark, if it cannot."""
    try:
        values = read_mapping(path)
        if odd := [key for key in keys if not isinstance(values.get(key) or {}, Mapping)]:
            raise UserError(f"{path} cannot be read ({', '.join(odd)}: no keys with values).")
        return values
    except FileNotFoundError:
        remarks.append(missing)
    except UserError as error:
        remarks.append(str(error))
    return None


def _checked(
    folder: Path, config: Mapping[str, Any] | None, remarks: list[str]
) -> tuple[Config | None, list[Cell]]:
    """The config, where this version understands it, and the words that it plans."""
    if config is None:
        return None, []
    path = folder / "config.yaml"
    try:
        checked = config_of(config, path)
        planned = list(islice(each_cell(checked), MOST_PLANNED + 1))
        if len(planned) > MOST_PLANNED:
            raise UserError(f"{path} plans more than {MOST_PLANNED:,} words.")
        return checked, planned
    except UserError as error:
        remarks.append(
            f"config.yaml says what this version cannot follow: {error} Which words were "
            "planned is told from the results alone."
        )
        return None, []


def _tasks(frame: pd.DataFrame, config: Config | None) -> dict[str, str]:
    """Model -> its task, of those that have results or words are to be trained in."""
    trained = () if config is None else config.trained
    found = {name: config.model.task_of(name) for name in trained if config is not None}
    found |= tasks_of(frame)
    return {model: found[model] for model in models_in_order(found)}


def _planned(folder: Path, frame: pd.DataFrame, asked: Iterable[Cell]) -> list[Cell]:
    """The cells of the latest config, and all that have results or a word: jobs share a folder."""
    planned = set(asked)
    words = frame.loc[frame["kind"] == WORD, CELL].drop_duplicates()
    planned |= {Cell(*row) for row in words.itertuples(index=False, name=None)}
    for path in (folder / "words").rglob("*.safetensors"):
        key = path.relative_to(folder / "words").with_suffix("").as_posix()
        try:
            planned.add(parse_key(key))
        except ValueError:
            continue
    return sorted(planned)


def _parts(folder: Path, kind: str, remarks: list[str]) -> pd.DataFrame:
    columns = {"activations": ACTIVATIONS, "neighbours": NEIGHBOURS}[kind]
    frame, left_out = read_parts(folder, set(columns) - LATER)
    if left_out:
        remarks.append(
            f"{kind}: {len(left_out)} files cannot be read, or are of a former version, and are "
            f"left out, such as {left_out[0].name}. Run action=figures again."
        )
    if "trained_for" in frame:  # of a former version
        models = dict(legacy.models_of(folder.parent / "results.parquet"))
        frame = frame.rename(
            columns={"trained_for": "source_model", "evaluated_on": "target_model"}
        )
        for name in ("source_model", "target_model"):
            frame[name] = frame[name].replace(models)
        frame["transfer"] = frame["transfer"].replace(legacy.TRANSFERS)
    return possible_parts(frame, kind, remarks)


def _pictures(folder: Path, remarks: list[str]) -> pd.DataFrame:
    found = saved_images(folder)
    others = sum(1 for _ in folder.rglob("*.png")) - len(found)
    if others:
        remarks.append(
            f"{folder.name}: {others:,} pictures are not filed by models, as by a former version, "
            "and are left out. Run action=figures again."
        )
    return found

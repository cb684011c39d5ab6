"""Rows that a study can have: others, of a damaged or a made up file, are left out and counted."""

import numpy as np
import pandas as pd

from vwtransfer.files import is_name
from vwtransfer.results.schema import BASELINES, WORD

NAMES = ["dataset", "concept", "anchor", "source_model", "transfer", "target_model"]
_MAY_LACK = ("anchor", "source_model")  # in baselines
_LARGEST = 1e9  # of any value: no metric comes near, and what is computed of it stays finite


def possible_results(frame: pd.DataFrame, remarks: list[str]) -> pd.DataFrame:
    """The rows of results that figures and tables can be made of.

    Names are names, numbers are numbers, a word is measured in its own model without a transfer
    and in others with one, a model has one task, and a value is of a sane size or nan.
    """
    word, moved = frame["kind"] == WORD, frame["transfer"] != "none"
    own = frame["source_model"] == frame["target_model"]
    kept = (
        _named(frame)
        & frame["kind"].isin([WORD, *BASELINES])
        & (word | (frame["source_model"] == ""))
        & (word & (moved != own) | ~word & ~moved)
        & _names(frame["metric"])
        & (frame["delta"] > 0)
        & (frame["seed"] >= 0)
        & ~(frame["value"].abs() > _LARGEST)
        & ~(word & (frame["anchor"] == ""))
    )
    for model, task in (("source_model", "source_task"), ("target_model", "target_task")):
        kept &= frame[task] == frame[model].map(frame.groupby(model)[task].first())
    if not kept.all():
        remarks.append(
            f"{(~kept).sum():,} of {len(frame):,} rows of the results are left out, as no study "
            "has such rows: a name, a number or a combination of models that cannot be."
        )
    frame = frame[kept].reset_index(drop=True)
    seconds = frame["eval_seconds"]
    timed = np.isfinite(seconds) & (seconds >= 0)
    if untimed := (~timed & frame["value"].notna()).sum():
        remarks.append(
            f"{untimed:,} of {len(frame):,} rows of the results say no time that measuring can "
            "have taken: the time of measuring lacks it."
        )
    return frame.assign(
        eval_seconds=seconds.where(timed),
        num_images=frame["num_images"].fillna(0).astype(int),
        seed=frame["seed"].astype(int),
    )


def possible_parts(frame: pd.DataFrame, kind: str, remarks: list[str]) -> pd.DataFrame:
    """The same of the rows of activations/ or neighbours/."""
    if frame.empty:
        return frame
    texts = [*NAMES, *(["encoder"] if "encoder" in frame else [])]
    numbers = [name for name in frame if name not in (*texts, "nearest", "distance")]
    frame = frame.assign(**{name: pd.to_numeric(frame[name], "coerce") for name in numbers})
    kept = _named(frame) & (frame["delta"] > 0)
    needed = ["seed", "layer", "layers", "place", "encoders", "vector"]
    for name in [name for name in needed if name in frame]:
        kept &= frame[name] >= 0
    for name in [name for name in numbers if name != "delta"]:
        kept &= ~(frame[name].abs() > _LARGEST)
    if "nearest" in frame:
        kept &= frame["nearest"].map(lambda names: np.size(names) > 0 and type(names[0]) is str)
    if not kept.all():
        remarks.append(
            f"{kind}: {(~kept).sum():,} of {len(frame):,} rows are left out, as no study has such "
            "rows. Run action=figures again."
        )
    return frame[kept].reset_index(drop=True)


def _named(frame: pd.DataFrame) -> pd.Series:
    """Whether what a row is of has names that a config can hold."""
    named = pd.Series(True, frame.index)
    for name in NAMES:
        named &= _names(frame[name]) | (name in _MAY_LACK) & (frame[name] == "")
    return named


def _names(column: pd.Series) -> pd.Series:
    able = [way for way in column.unique() if isinstance(way, str) and is_name(way)]
    return column.isin(able)

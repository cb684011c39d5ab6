"""Results from before models had names of their own, read as they are now.

Then a row named the task that a word was trained for (or the baseline) and the task it was
evaluated on, as a study had one model for each task.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa

from vwtransfer.config.renamed import CHOICES
from vwtransfer.config.saved import read_mapping
from vwtransfer.errors import UserError
from vwtransfer.results.schema import BASELINES, DIAGNOSTICS, NOT_CHECKED, SCHEMA, TEXT, WORD

COLUMNS = {
    "examples": "num_images",
    "seconds": "eval_seconds",
    "outside_table": "off_subspace_energy",
    "far_from_words": "vocabulary_distance",
    "strange_output": "output_distance",
    "turning_block": "concept_onset_layer",
}
"""Column -> what it is called now, where it means the same."""
TRANSFERS: Mapping[str, str] = CHOICES["transfer"]
"""Method of transfer -> what it is called now."""
MODELS = {
    "tiny": {
        "generation": "tiny_sd",
        "detection": "tiny_owlv2",
        "classification": "tiny_clip",
    },
    "paper": {
        "generation": "sd21",
        "detection": "owlv2_base",
        "classification": "dfn_clip",
    },
}
"""Suite -> the model that it had for each task."""
WRITTEN = b"vwtransfer.written"

# what every old table held; the rest came later
_NEEDED = [
    *("experiment", "dataset", "concept", "anchor", "delta", "trained_for", "transfer"),
    *("evaluated_on", "metric", "value", "examples", "seed", "seconds"),
]


def is_legacy(names: Sequence[str]) -> bool:
    """Whether these are the columns of such a table."""
    return set(_NEEDED) <= set(names)


def models_of(path: Path) -> Mapping[str, str]:
    """Task -> the name of its model, for a file of rows; empty where no config tells.

    The study's config lies beside `results.parquet` and above the folder of the parts.
    """
    folder = path.parent if path.name == "results.parquet" else path.parent.parent
    return _models_of(folder)


@cache
def _models_of(folder: Path) -> Mapping[str, str]:
    try:
        config = read_mapping(folder / "config.yaml")
        return MODELS.get(config["model"]["name"], {})
    except (OSError, UserError, KeyError, TypeError):
        return {}


def converted(table: pa.Table, models: Mapping[str, str], written_at: str = "") -> pa.Table:
    """The rows of an old table with the columns of SCHEMA.

    Args:
        table: the old rows.
        models: task -> model; a task that is not there gives its own name to its model.
        written_at: when they were written.
    """
    frame = table.to_pandas().rename(columns=COLUMNS)
    source, target = frame["trained_for"].astype(str), frame["evaluated_on"].astype(str)
    is_word = ~source.isin(BASELINES)
    frame["kind"] = source.mask(is_word, WORD)
    frame["source_task"] = source.where(is_word, "")
    frame["source_model"] = source.replace(dict(models)).where(is_word, "")
    frame["target_task"] = target
    frame["target_model"] = target.replace(dict(models))
    frame["transfer"] = frame["transfer"].astype(str).replace(TRANSFERS)
    frame["written_at"] = written_at
    frame = frame.reindex(columns=SCHEMA.names)
    text = frame[TEXT].astype(object)
    frame[TEXT] = text.fillna({"unsafe": NOT_CHECKED}).fillna("")
    frame[[*DIAGNOSTICS]] = frame[[*DIAGNOSTICS]].astype(float)
    return pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)

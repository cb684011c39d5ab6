"""Results and kept words from before models had names of their own, read as they are now.

Then a row named the task that a word was trained for (or the baseline) and the task it was
evaluated on, as a study had one model for each task, and the words of `kept/` were filed by task.

    from vwtransfer.results.legacy import MODELS, migrate_kept

    migrate_kept(Path("kept/tiny_section4"), MODELS["tiny"], "320 tokens")   # rewrites its files
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import save_file

from vwtransfer.config.saved import read_mapping
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically
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
TRANSFERS = {
    "clearest_matching": "readout_matching",
    "blended_matching": "ridge_knn_matching",
    "neighbour_matching": "knn_matching",
    "similarity_matching": "relative_matching",
    "state_matching": "token_state_matching",
}
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


def converted(
    table: pa.Table, models: Mapping[str, str], written_at: str = "", support: str = ""
) -> pa.Table:
    """The rows of an old table with the columns of SCHEMA.

    Args:
        table: the old rows.
        models: task -> model; a task that is not there gives its own name to its model.
        written_at: when they were written.
        support: what the map of transferred words was fitted on.
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
    frame["support"] = pd.Series("", frame.index).mask(frame["transfer"] != "none", support)
    frame["written_at"] = written_at
    frame = frame.reindex(columns=SCHEMA.names)
    text = frame[TEXT].astype(object)
    frame[TEXT] = text.fillna({"unsafe": NOT_CHECKED}).fillna("")
    frame[[*DIAGNOSTICS]] = frame[[*DIAGNOSTICS]].astype(float)
    return pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)


def migrate_kept(folder: Path, models: Mapping[str, str], support: str) -> None:
    """Rewrites the files of kept/<name>: words filed by model, rows with the columns of SCHEMA.

    The vectors stay as they are to the bit. What is not known of old words (device, host, commit,
    versions) is left out.

    Args:
        folder: kept/<name>, as `action=publish` wrote it.
        models: task -> model.
        support: what the map of transferred words was fitted on.
    """
    for task, model in models.items():
        old, new = folder / f"{task}.safetensors", folder / f"{model}.safetensors"
        if old.is_file():
            _migrate_words(old, new, task, model)
            old.unlink()
    path = folder / "results.parquet"
    table = pq.read_table(path, partitioning=None)
    if is_legacy(table.column_names):
        metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k == b"identity"}
        rows = converted(table, models, support=support).replace_schema_metadata(metadata)
        write_atomically(
            path, lambda temporary: pq.write_table(rows, temporary, compression="zstd")
        )


def _migrate_words(old: Path, new: Path, task: str, model: str) -> None:
    with safe_open(old, framework="np") as file:
        known = json.loads(file.metadata()["words"])
        vectors = {_renamed(key, task, model): file.get_tensor(key) for key in known}
    words = {
        _renamed(key, task, model): {
            "task": task,
            "table": word["model"],
            "fingerprint": word["config"],
            "loss": word["loss"],
            "seconds": word["seconds"],
            **({"note": word["note"]} if word.get("note") else {}),
        }
        for key, word in known.items()
    }
    metadata = {"format": "pt", "words": json.dumps(words, separators=(",", ":"))}
    write_atomically(new, lambda temporary: save_file(vectors, temporary, metadata))


def _renamed(key: str, task: str, model: str) -> str:
    """dataset/task/concept/end, with the model in place of the task."""
    dataset, of_task, *rest = key.split("/")
    if of_task != task:
        raise ValueError(f"not a word of {task}: {key}")
    return "/".join((dataset, model, *rest))

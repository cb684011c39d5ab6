"""action=keep and action=publish: finished words and rows in few files, for git to track.

    kept/<name>/shards/<shard>.safetensors, .parquet     a finished shard's words and rows (keep)
    kept/<name>/<task>.safetensors, results.parquet      the same of all shards together (publish)

What lies there is read like outputs/: before anything is submitted or worked on, words that were
trained with the very config of the study are put where the study looks for them.

A file of words holds a tensor [K, D], float32, for each word under the word's key, and in the
metadata's `words` (JSON) what else is known of each: model, config, loss, seconds and, if there is
one, its note.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.torch import save_file

from vwtransfer import results
from vwtransfer.cluster import survey
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.shown import terminal
from vwtransfer.config import Config, provenance
from vwtransfer.config.identity import word_identity
from vwtransfer.evaluation.queries import Query
from vwtransfer.files import write_atomically
from vwtransfer.grid import parse_key
from vwtransfer.results import Record
from vwtransfer.words import Word, WordStore

ROWS = "results.parquet"
REST = ("model", "config", "loss", "seconds", "note")


def keep(config: Config) -> None:
    """action=keep: packs every finished shard that is not kept yet."""
    folder = config.kept / config.name
    store = WordStore(config.folder / "words")
    known = _keys(folder)
    rows: pd.DataFrame | None = None
    count = finished = 0
    asked = shards(config, survey.left_out(config.folder)[0])
    for shard in asked:
        if not survey.is_complete(config, shard):
            continue
        finished += 1
        cells = [cell for cell in shard.cells if cell in store]
        if {cell.key for cell in cells} <= known:
            continue
        rows = results.read(config.folder) if rows is None else rows
        place = folder / "shards" / shard.file_name
        own = rows[[is_of(config, shard, query) for query in _queries(rows)]]
        _write_rows(own, place.with_name(f"{place.name}.parquet"))
        pack([store.load(cell) for cell in cells], place.with_name(f"{place.name}.safetensors"))
        count += 1
    terminal().print(
        f"{count} shards were added to {folder}; "
        f"of the {len(asked)} that this command asks for, {finished} are finished"
    )


def publish(config: Config) -> None:
    """action=publish: one file of words for each task, and one of rows."""
    folder = config.kept / config.name
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in before if path.suffix == ".safetensors"]
    words = {word.cell: word for path in paths for word in unpack(path)}
    for task in sorted({cell.task for cell in words}):
        pack([words[c] for c in sorted(words) if c.task == task], folder / f"{task}.safetensors")
    frame = _rows(folder)
    if frame is not None:
        _write_rows(frame, folder / ROWS)
    for path in before:
        if path.parent.name == "shards":
            path.unlink()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    terminal().print(f"{folder}: {len(words):,} words, {size / 1e6:.1f} MB")


def restore(config: Config) -> str:
    """Puts what is kept of this study where the study looks for it.

    Returns:
        A line that says what was done; empty where nothing was to do.
    """
    folder = config.kept / config.name
    paths = sorted(folder.rglob("*.safetensors"))
    if not paths:
        return ""
    missing = [
        shard
        for shard in shards(config, survey.left_out(config.folder)[0])
        if not survey.is_complete(config, shard)
    ]
    wanted = {cell for shard in missing for cell in shard.cells}
    store = WordStore(config.folder / "words")
    kept = [word for path in paths for word in unpack(path)]
    kept = [word for word in kept if word.cell in wanted and word.cell not in store]
    found = [word for word in kept if word.config == word_identity(config, word.cell)]
    if found:
        provenance.save(config)  # from here on the folder is this study's
        for word in found:
            store.save(word)
        frame = _rows(folder)
        if frame is not None:
            queries = _queries(frame)
            for shard in missing:
                _restore_rows(config, shard, frame, queries)
    other = len(kept) - len(found)
    left = f"; {other} words of another config were left there" if other else ""
    return f"{len(found)} words were taken from {folder}{left}" if kept else ""


def pack(words: Sequence[Word], path: Path) -> None:
    """Writes words into one file, whole or not at all."""
    known = {word.cell.key: _rest(word) for word in words}
    tensors = {word.cell.key: word.vectors_KD.float().contiguous() for word in words}
    metadata = {"format": "pt", "words": json.dumps(known, separators=(",", ":"))}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def unpack(path: Path) -> list[Word]:
    """The words of a file that `pack` wrote."""
    with safe_open(path, framework="pt") as file:
        known = json.loads(file.metadata()["words"])
        return [Word(parse_key(key), file.get_tensor(key), **rest) for key, rest in known.items()]


def is_of(config: Config, shard: Shard, query: Query) -> bool:
    """Whether a row is one of a shard's: its words everywhere, baselines in its own model."""
    if (query.dataset, query.concept) != (shard.dataset, shard.concept):
        return False
    if query.trained_for in config.model.tasks:
        return query.trained_for == shard.task and query.cell.key.split("/")[-1] in shard.ends
    home = query.evaluated_on if query.evaluated_on in config.task else config.task[0]
    return home == shard.task


def _restore_rows(
    config: Config, shard: Shard, frame: pd.DataFrame, queries: Sequence[Query]
) -> None:
    """Writes the shard's part of the results, if all of its words and their rows are there."""
    trained, failed = survey.settled(config.folder, shard)
    if not trained or len(trained) + failed < len(shard.ends):
        return
    unmeasured = survey.left_out(config.folder)[1]
    if not survey.rows_wanted(config, shard, trained, unmeasured) <= set(queries):
        return
    own = frame[[is_of(config, shard, query) for query in queries]]
    rows = [Record(**row) for row in own.to_dict("records")]
    results.write_part(config.folder, rows, shard.part_key(trained))


def _rest(word: Word) -> dict[str, str | float]:
    """What a file says of a word beside its vectors: seconds to the millisecond, no empty note."""
    rest = {name: getattr(word, name) for name in REST if getattr(word, name) != ""}
    return rest | {"seconds": round(word.seconds, 3)}


def _keys(folder: Path) -> set[str]:
    return {w.cell.key for path in folder.rglob("*.safetensors") for w in unpack(path)}


def _queries(frame: pd.DataFrame) -> list[Query]:
    columns = list(Query.__dataclass_fields__)
    return [Query(*row) for row in frame[columns].itertuples(index=False)]


def _rows(folder: Path) -> pd.DataFrame | None:
    """All kept rows once."""
    paths: Iterable[Path] = sorted(folder.rglob("*.parquet"))
    frames = [pq.read_table(path, partitioning=None).to_pandas() for path in paths]
    if not frames:
        return None
    return pd.concat(frames, ignore_index=True).drop_duplicates(results.IDENTITY)


def _write_rows(frame: pd.DataFrame, path: Path) -> None:
    frame = frame.reindex(columns=results.SCHEMA.names)  # older rows lack later columns
    table = pa.Table.from_pandas(frame, schema=results.SCHEMA, preserve_index=False)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))

"""Results files merged: each record once and in order, some concepts at a time.

Of two records with one identity the one that was written first stands: among the parts of a study
by `written_at`. What no part holds is taken from a word that failed, then from `results.parquet`.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vwtransfer.errors import UserError, quoted
from vwtransfer.results import legacy
from vwtransfer.results.schema import IDENTITY, SCHEMA, TEXT

_CONCEPT = IDENTITY[:3]  # experiment, dataset, concept
_ROWS = 100_000  # that are merged at once, where concepts can be told apart
_READERS = 4  # files that are read at the same time
_LEFT_OUT = (
    "left out of the results, as they cannot be read: {}. Delete them and run again: only what "
    "they held is measured anew."
)
_PART, _FAILED, _TABLE = range(3)  # a record's rank among those of its identity
ENCODED = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in TEXT else field
    for field in SCHEMA
)


@dataclass(frozen=True)
class Piece:
    """Rows that are read at once: a row group of a file, or a table.

    Attributes:
        rank: which of two records stands; the lower.
        rows: how many there are of each (experiment, dataset, concept).
        load: gives them.
    """

    rank: int
    rows: Counter[tuple[str, ...]]
    load: Callable[[], pa.Table]


def pieces(paths: Iterable[Path]) -> list[Piece]:
    """What these files hold; a file that was cut off, or is no table of results, is left out.

    Raises:
        UserError: none can be read.

    Warns:
        UserWarning: names the files that were left out.
    """
    found, cut_off = [], []
    for path in paths:
        try:
            found += _pieces(path)
        except (pa.ArrowException, OSError, ValueError) as error:
            cut_off.append(f"{path} ({quoted(error, 400)})")
    if cut_off and not found:
        raise UserError(
            f"none of the results can be read: {', '.join(cut_off)}. Delete them and run again."
        )
    if cut_off:
        warnings.warn(_LEFT_OUT.format(", ".join(cut_off)), stacklevel=3)
    return found


def pieces_of(failed: pa.Table) -> list[Piece]:
    """The records of words that failed."""
    encoded = failed.cast(ENCODED)
    return [Piece(_FAILED, _counted(encoded), lambda: encoded)] if len(failed) else []


def merged(found: Sequence[Piece]) -> Iterator[pa.Table]:
    """The records of all pieces, each once, sorted by IDENTITY; text as dictionaries, nan as null.

    Memory is what _ROWS rows need, unless a concept has more.
    """
    rows: Counter[tuple[str, ...]] = Counter()
    for piece in found:
        rows.update(piece.rows)
    with ThreadPoolExecutor(_READERS) as readers:
        for concepts in _batches(rows):
            held = [piece for piece in found if not concepts.isdisjoint(piece.rows)]
            tables = list(readers.map(lambda piece: piece.load(), held))
            rank = np.repeat([piece.rank for piece in held], [len(table) for table in tables])
            yield _merged(tables, rank, concepts)


def _merged(
    tables: Sequence[pa.Table], rank: np.ndarray, concepts: set[tuple[str, ...]]
) -> pa.Table:
    """The records of some concepts, each once, in order; `rank` is of each row."""
    frame = sorted_categories(pa.concat_tables(tables).unify_dictionaries().to_pandas())
    frame = frame.assign(rank=rank, undated=frame["written_at"] == "")
    of_row = frame[_CONCEPT].drop_duplicates().astype(str).itertuples(index=False, name=None)
    if not concepts.issuperset(of_row):
        frame = frame[pd.MultiIndex.from_frame(frame[_CONCEPT].astype(str)).isin(concepts)]
    frame = frame.sort_values([*IDENTITY, "rank", "undated", "written_at"], kind="stable")
    frame = frame.drop_duplicates(IDENTITY)
    return pa.Table.from_pandas(frame, schema=ENCODED, preserve_index=False)


def sorted_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the categories of its text in the order of the alphabet."""
    for name in TEXT:
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def _batches(rows: Counter[tuple[str, ...]]) -> Iterator[set[tuple[str, ...]]]:
    """Concepts in order, so many that they have _ROWS rows."""
    batch: set[tuple[str, ...]] = set()
    count = 0
    for concept in sorted(rows):
        batch.add(concept)
        count += rows[concept]
        if count >= _ROWS:
            yield batch
            batch, count = set(), 0
    if batch:
        yield batch


def _pieces(path: Path) -> list[Piece]:
    rank = _TABLE if path.name == "results.parquet" else _PART
    metadata = pq.read_metadata(path)
    _check(metadata.schema.to_arrow_schema().names, metadata.schema.names)
    text = [name for name in metadata.schema.names if name in TEXT]
    found = []
    for number in range(metadata.num_row_groups):
        rows = _one_concept(metadata, number)
        if rows is None:
            with pq.ParquetFile(path, read_dictionary=_CONCEPT, metadata=metadata) as file:
                rows = _counted(file.read_row_group(number, columns=_CONCEPT, use_threads=False))
        if not rows and metadata.row_group(number).num_rows:
            _say_lacking(path, metadata.row_group(number).num_rows, 0)
        found.append(Piece(rank, rows, partial(_load, path, number, text)))
    return found


def _one_concept(metadata: pq.FileMetaData, number: int) -> Counter[tuple[str, ...]] | None:
    """The rows of a row group that holds one concept, as most parts do; told without reading it."""
    group, names = metadata.row_group(number), metadata.schema.names
    bounds = [group.column(names.index(name)).statistics for name in _CONCEPT]
    if all(bound and bound.has_min_max and bound.min == bound.max for bound in bounds):
        return Counter({tuple(bound.min for bound in bounds): group.num_rows})
    return None


def _load(path: Path, number: int, text: Sequence[str]) -> pa.Table:
    """Rows of a file; those that it cannot hold are left out, as is what cannot be read."""
    try:
        table = _read(path, number, text)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        warnings.warn(_LEFT_OUT.format(f"{path} ({quoted(error)})"), stacklevel=2)
        return ENCODED.empty_table()
    whole = reduce(pc.and_, (pc.is_valid(table[name]) for name in IDENTITY))
    kept = table.filter(whole)
    if len(kept) < len(table):
        _say_lacking(path, len(table), len(kept))
    records = len(kept.group_by(IDENTITY, use_threads=False).aggregate([]))
    if records < len(kept):
        warnings.warn(
            f"{path}: {len(kept) - records} of {len(kept)} rows are of records that stand there "
            "more than once; of each the row that was written first counts.",
            stacklevel=2,
        )
    return kept


def _say_lacking(path: Path, rows: int, kept: int) -> None:
    warnings.warn(
        f"left out of the results: {path}: {rows - kept} of {rows} rows lack what they are of.",
        stacklevel=3,
    )


def _read(path: Path, number: int, text: Sequence[str]) -> pa.Table:
    with pq.ParquetFile(path, read_dictionary=text) as file:
        table = file.read_row_group(number, use_threads=False)
        if legacy.is_legacy(table.column_names):
            written = (file.metadata.metadata or {}).get(legacy.WRITTEN, b"").decode()
            table = legacy.converted(table, legacy.models_of(path), written)
    try:
        return table.select(SCHEMA.names).cast(ENCODED)
    except pa.ArrowException as error:
        raise ValueError(f"a column is of another type: {error}") from error


def _counted(table: pa.Table) -> Counter[tuple[str, ...]]:
    """How many rows there are of each (experiment, dataset, concept)."""
    counts = table.group_by(_CONCEPT).aggregate([([], "count_all")]).to_pydict()
    concepts = zip(*(counts[name] for name in _CONCEPT), strict=True)
    counted = dict(zip(concepts, counts["count_all"], strict=True))
    return Counter({concept: count for concept, count in counted.items() if None not in concept})


def _check(names: Sequence[str], leaves: Sequence[str]) -> None:
    """Raises ValueError of a table that is none of results; `leaves`: with names inside columns."""
    if doubled := [name for name in SCHEMA.names if leaves.count(name) > 1]:
        raise ValueError(f"no table of results: it has {doubled[0]} twice")
    lacking = [name for name in SCHEMA.names if name not in names]
    if lacking and not legacy.is_legacy(names):
        raise ValueError(
            f"no table of results: it holds {quoted(', '.join(names)) or 'no column'} and lacks "
            f"the columns {', '.join(lacking)}"
        )

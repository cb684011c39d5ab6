"""The parts of the results on disk, joined: each record once, in order, so many rows at a time.

A record that stands in several parts is taken from the one written first; a file without a time,
such as `results.parquet`, counts as the last.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vwtransfer.errors import UserError

SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("dataset", pa.string()),
        ("concept", pa.string()),
        ("anchor", pa.string()),
        ("delta", pa.float64()),
        ("trained_for", pa.string()),
        ("transfer", pa.string()),
        ("evaluated_on", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("examples", pa.int64()),
        ("seed", pa.int64()),
        ("seconds", pa.float64()),
        ("unsafe", pa.string()),
        ("outside_table", pa.float64()),
        ("far_from_words", pa.float64()),
        ("strange_output", pa.float64()),
        ("turning_block", pa.float64()),
    ]
)
DIAGNOSTICS = ("outside_table", "far_from_words", "strange_output", "turning_block")
NOT_CHECKED = "not checked"
# columns that older tables lack, and what stands in them then
LATER = {"unsafe": NOT_CHECKED, **dict.fromkeys(DIAGNOSTICS, math.nan)}
TEXT = [field.name for field in SCHEMA if field.type == pa.string()]
MEASURED = ["value", "examples", "seconds", "unsafe", *DIAGNOSTICS]
IDENTITY = [name for name in SCHEMA.names if name not in MEASURED]
WRITTEN = b"vwtransfer.written"

_ORDERED = IDENTITY[:3]  # what the table is sorted by first, and few values of which share a part
_ROWS = 100_000  # of a batch, where concepts can be told apart
ENCODED = pa.schema(
    field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in TEXT else field
    for field in SCHEMA
)


@dataclass(frozen=True)
class Piece:
    """Rows that are read at once: a row group of a file, or a table.

    Attributes:
        written: when; decides which of two records stands.
        name: of the file; decides where the time does not.
        rows: how many.
        low, high: bounds of experiment, dataset and concept.
        load: gives the rows.
    """

    written: str
    name: str
    rows: int
    low: tuple[str, ...]
    high: tuple[str, ...]
    load: Callable[[], pa.Table]


def pieces(paths: Iterable[Path]) -> list[Piece]:
    """What these files hold; a file that was cut off is left out.

    Raises:
        UserError: none can be read, or one has other columns.

    Warns:
        UserWarning: names the files that were left out.
    """
    found, cut_off = [], []
    for path in paths:
        try:
            found += _pieces(path)
        except (pa.ArrowException, OSError) as error:
            cut_off.append(f"{path} ({error})")
    if cut_off and not found:
        raise UserError(
            f"none of the results can be read: {', '.join(cut_off)}. Delete them and run again."
        )
    if cut_off:
        warnings.warn(
            f"left out of the results, as they cannot be read: {', '.join(cut_off)}. Delete them "
            "and run again: only what they held is measured anew.",
            stacklevel=4,
        )
    return found


def in_memory(name: str, table: pa.Table) -> Piece:
    """A table as a piece, which no record on disk gives way to."""
    low, high = _bounds(table)
    return Piece("9999", name, len(table), low, high, lambda: table)


def joined(found: Sequence[Piece]) -> Iterator[pd.DataFrame]:
    """The records of all pieces, each once, sorted by what identifies them, a batch at a time.

    Text columns are categories. Records of a concept come together; memory is what a batch needs,
    unless pieces span many concepts, as those of plain runs do.
    """
    for batch in _batches(found):
        ordered = sorted(batch, key=lambda piece: (piece.written, piece.name))
        table = pa.concat_tables([piece.load() for piece in ordered]).unify_dictionaries()
        frame = sorted_categories(table.to_pandas())
        yield frame.drop_duplicates(IDENTITY).sort_values(IDENTITY, ignore_index=True)


def sorted_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the categories of its text in the order of the alphabet."""
    for name in TEXT:
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def encoded(path: Path, table: pa.Table) -> pa.Table:
    """The columns of a results table, text as dictionaries.

    Raises:
        UserError: it is another kind of table.
    """
    _check(path, table.column_names)
    for name, value in LATER.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([value] * len(table)))
    try:
        return table.select(SCHEMA.names).cast(ENCODED)
    except pa.ArrowException as error:
        raise UserError(f"{path} holds a column of another type: {error}.") from error


def _batches(found: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces in order; all that may hold rows of a concept are in the same batch."""
    batch: list[Piece] = []
    rows = 0
    high: tuple[str, ...] = ()
    for piece in sorted(found, key=lambda piece: piece.low):
        if rows >= _ROWS and piece.low > high:
            yield batch
            batch, rows, high = [], 0, ()
        batch.append(piece)
        rows += piece.rows
        high = max(high, piece.high)
    if batch:
        yield batch


def _pieces(path: Path) -> list[Piece]:
    metadata = pq.read_metadata(path)
    names = metadata.schema.names
    _check(path, names)
    written = (metadata.metadata or {}).get(WRITTEN, b"9999").decode()
    columns = [names.index(name) for name in _ORDERED]
    text = [name for name in TEXT if name in names]
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        load = partial(_load, path, number, text)
        known = [group.column(column).statistics for column in columns]
        if all(each is not None and each.has_min_max for each in known):
            low, high = (tuple(getattr(each, end) for each in known) for end in ("min", "max"))
        else:
            low, high = _bounds(load())
        found.append(Piece(written, path.name, group.num_rows, low, high, load))
    return found


def _load(path: Path, number: int, text: list[str]) -> pa.Table:
    with pq.ParquetFile(path, read_dictionary=text) as file:
        return encoded(path, file.read_row_group(number, use_threads=False))


def _bounds(table: pa.Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ends = [pc.min_max(table[name].cast(pa.string())).as_py() for name in _ORDERED]
    low, high = (tuple(each[end] or "" for each in ends) for end in ("min", "max"))
    return low, high


def _check(path: Path, names: Sequence[str]) -> None:
    lacking = [name for name in SCHEMA.names if name not in names and name not in LATER]
    if lacking:
        raise UserError(
            f"{path} is no table of results as this version writes them: it lacks the columns "
            f"{', '.join(lacking)} and holds {', '.join(names) or 'none'}."
        )

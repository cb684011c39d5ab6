"""Results on disk: parts, each the rows of one unit of work, and one table of all of them.

A record that stands in several parts is taken from the one that was written first;
`results.parquet` adds what no part holds.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically, write_once
from vwtransfer.results.merge import ENCODED, merged, pieces, pieces_of, sorted_categories
from vwtransfer.results.schema import SCHEMA, TEXT, Record


def write_part(folder: str | Path, rows: Sequence[Record], key: str) -> Path:
    """Writes the rows of one unit of work under `folder`/results, whole or not at all.

    The file is named after `key`, which names the unit of work: done again it is the same file,
    and two units never share one. The first whole result stands and is not written again.
    """
    path = part_path(folder, key)
    if is_whole(path):
        return path
    now = datetime.now(UTC).isoformat()
    table = _table([replace(row, written_at=row.written_at or now) for row in rows])

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary)

    if not write_once(path, write) and not is_whole(path):  # cut off by a fault of the disk
        write_atomically(path, write)
    return path


def part_path(folder: str | Path, key: str) -> Path:
    """The part that holds the rows of the unit of work named `key`."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return Path(folder) / "results" / f"{readable(key)}-{digest}.parquet"


def readable(key: str) -> str:
    """What the name of a part begins with: its key, as far as a file's name can hold it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", key)[:80]


def is_whole(path: Path) -> bool:
    """Whether a parquet file is there and not cut off."""
    if not path.is_file():  # a named pipe would be waited for
        return False
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def read(folder: str | Path, *, categorical: bool = False) -> pd.DataFrame:
    """The results of a study's folder, or of one file, each record once, by IDENTITY.

    Tables from before models had names are converted; see `vwtransfer.results.legacy`.

    Args:
        folder: a study's folder or a file such as `results.parquet`.
        categorical: text columns as pandas categories, a tenth of the memory for a million words.

    Raises:
        UserError: there are no results, none can be read, or a file has other columns.

    Warns:
        UserWarning: names the cut-off files that were left out.
    """
    tables = list(merged(pieces(_files(Path(folder)))))
    whole = pa.concat_tables([ENCODED.empty_table(), *tables]).unify_dictionaries()
    del tables
    frame = sorted_categories(whole.to_pandas(split_blocks=True, self_destruct=True))
    return frame if categorical else frame.astype(dict.fromkeys(TEXT, "str"))


def table(config: Config) -> None:
    """action=table: writes what is measured so far into one table; loads no model.

    Raises:
        UserError: as `read`.
    """
    count = write_table(config.folder)
    print(f"{config.folder / 'results.parquet'} and results.csv: {count:,} rows")


def finish(folder: str | Path, failed: Sequence[Record] = ()) -> pd.DataFrame:
    """Writes all records of a study into one table, as `write_table`; gives them back."""
    write_table(folder, failed)
    return read(Path(folder) / "results.parquet")


def write_table(folder: str | Path, failed: Sequence[Record] = ()) -> int:
    """Writes all records of a study into `results.parquet` and `results.csv`.

    Memory does not grow with the rows.

    Args:
        folder: the study's.
        failed: records without a value, of words that could not be trained.

    Returns:
        How many records there are.

    Raises:
        UserError: as `read`.
    """
    folder = Path(folder)
    has_parts = any((folder / "results").glob("*.parquet"))
    found = pieces(_files(folder)) if has_parts or not failed else []
    found += pieces_of(_table(failed))
    count = 0

    def write(parquet: Path) -> None:
        write_atomically(folder / "results.csv", lambda csv: write_both(parquet, csv))

    def write_both(parquet: Path, csv: Path) -> None:
        nonlocal count
        options = pa.csv.WriteOptions(quoting_style="needed")
        with (
            pq.ParquetWriter(parquet, SCHEMA) as columns,
            pa.csv.CSVWriter(csv, SCHEMA, write_options=options) as lines,
        ):
            for encoded in merged(found):
                table = encoded.cast(SCHEMA)
                columns.write_table(table)
                lines.write_table(table)
                count += len(table)

    write_atomically(folder / "results.parquet", write)
    return count


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes records that are all there as one table, with the columns of the schema alone."""
    table = pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata(None)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary))


def _table(rows: Sequence[Record]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def _files(folder: Path) -> list[Path]:
    """The parquet files of a study: its parts and `results.parquet`."""
    if folder.is_file():
        return [folder]
    whole = folder / "results.parquet"
    parts = [path for path in sorted((folder / "results").glob("*.parquet")) if path.is_file()]
    found = parts + [whole] * whole.is_file()
    if not found:
        there = "holds no results yet" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} {there}: results/*.parquet or results.parquet is needed.")
    return found

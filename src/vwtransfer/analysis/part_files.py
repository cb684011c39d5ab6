"""Tables that are written a part at a time, a parquet file each: activations/ and neighbours/."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vwtransfer.files import write_atomically

MADE_FROM = b"vwtransfer.made_from"


def write_part(path: Path, columns: Mapping[str, object], made_from: str) -> None:
    """Writes one part, whole or not at all.

    Args:
        path: its file.
        columns: name -> values.
        made_from: identity of what it was computed from; see `is_current`.
    """
    table = pa.table(dict(columns)).replace_schema_metadata({MADE_FROM: made_from.encode()})
    write_atomically(path, lambda temporary: pq.write_table(table, temporary))


def is_current(path: Path, made_from: str) -> bool:
    """Whether a part is there, whole, and computed from the same."""
    try:
        return (pq.read_schema(path).metadata or {}).get(MADE_FROM) == made_from.encode()
    except (pa.ArrowException, OSError):
        return False


def read_parts(folder: Path, columns: Collection[str]) -> tuple[pd.DataFrame, list[Path]]:
    """All parts in one table (empty where there are none), and the files that are left out.

    These are files that cannot be read or lack a column, and beside current ones those of a former
    version, whose rows name tasks (`trained_for`) in place of models.

    Args:
        folder: of the parts.
        columns: what a current one holds.
    """
    tables, left_out = {}, []
    for path in sorted(folder.glob("*.parquet")):
        try:
            if not path.is_file():
                raise OSError("no file")
            table = pq.read_table(path, partitioning=None).replace_schema_metadata()
            table.validate(full=True)
            names = set(table.column_names)
            if len(names) < table.num_columns or not (_is_former(table) or set(columns) <= names):
                raise ValueError("other columns")
            tables[path] = table
        except (pa.ArrowException, OSError, ValueError):
            left_out.append(path)
    former = [path for path, table in tables.items() if _is_former(table)]
    if len(former) < len(tables):
        left_out += former
    whole = [table for path, table in tables.items() if path not in left_out]
    try:
        frame = pa.concat_tables(whole, promote_options="default").to_pandas() if whole else None
    except pa.ArrowException:  # columns of several types
        return pd.DataFrame(), [*left_out, *tables]
    return (pd.DataFrame() if frame is None else frame), left_out


def _is_former(table: pa.Table) -> bool:
    return "trained_for" in table.column_names

"""The results: one record for each word, transfer and metric.

Columns, the same in the parts, in `results.parquet` and in `results.csv`:

    experiment    name of the run
    dataset       where the concept's images are from
    concept       what the word was trained to mean
    anchor        the vocabulary word at which its vectors started; empty in baselines that have
                  none (pandas reads that as nan from the csv)
    delta         radius of the ball around the anchor that the vectors were kept in, in units of
                  the distance to the anchor's nearest word (paper, section 5); inf when
                  unconstrained, "inf" in the csv, which pandas reads back as the float
    trained_for   the task whose model learned the word; in a baseline "anchor" (the anchor word
                  itself), "name" (the concept's own name), "random" (a random vector of the
                  anchor's norm) or "chance"
    transfer      the method that mapped the word into the evaluated model; "none" in-domain and in
                  baselines
    evaluated_on  the task whose model was evaluated with the word
    metric        generation_accuracy, mean_average_precision (IoU 0.5),
                  mean_average_precision_50_95, mean_average_precision_target_images (IoU 0.5, only
                  the images that hold the target), classifier_accuracy (share of the target's
                  images given to it) or classifier_balanced_accuracy (mean of that share and of
                  the share of other images not given to it); each between 0 and 1
    value         the measured value; nan when the word failed, nothing in the csv
    examples      how many images (generated or held-out) it was measured on
    seed          seed of the word's training
    seconds       time the measurement took
    unsafe        whether the safety checker flags an image generated for this row: "yes", "no", or
                  "not checked" where there is no checker, or nothing was generated

and what may explain that a trained word is lost on the way to another model, measured in its own
model and the same in all rows of the word; nan in baselines and where it was not measured
(`vwtransfer.evaluation.diagnostics` says it in full):

    outside_table   share of its way from the anchor outside the table's leading directions
    far_from_words  distance to the vocabulary, in the words' distances to one another
    strange_output  distance of its encoded prompt from those of ordinary phrases
    turning_block   block of the text encoder at which the anchor turns into the concept

A trial is one word, and a mean is over trials. The three questions asked first:

    from vwtransfer import results

    from vwtransfer.results import summary

    frame = results.read("outputs/demo")        # or pandas.read_parquet of its results.parquet
    free = frame[frame.delta == float("inf")]

    # How well do words do in their own model (transfer none), and how well in the others?
    reached = free.pivot_table("value", ["dataset", "trained_for", "transfer"], "metric")

    # The same with 95 % intervals, at every delta, and what a transfer keeps of it
    table = summary.means(frame)                # mean, low, high, trials, failed, missing
    kept = summary.kept(table)                  # method -> (share, pairs it is the mean of)

    # Which words survive a transfer best, and which failed?
    moved = free[(free.transfer != "none") & (free.metric == "classifier_accuracy")]
    best = moved.nlargest(10, "value")[["trained_for", "concept", "anchor", "value"]]
    failed = frame[frame.value.isna()][["trained_for", "concept", "anchor", "delta"]]
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.files import write_atomically, write_once
from vwtransfer.results.parts import DIAGNOSTICS as DIAGNOSTICS
from vwtransfer.results.parts import (
    ENCODED,
    TEXT,
    WRITTEN,
    encoded,
    in_memory,
    joined,
    pieces,
    sorted_categories,
)
from vwtransfer.results.parts import IDENTITY as IDENTITY
from vwtransfer.results.parts import NOT_CHECKED as NOT_CHECKED
from vwtransfer.results.parts import SCHEMA as SCHEMA


@dataclass(frozen=True)
class Record:
    """One row of the results; the module's docstring says what each column is."""

    experiment: str
    dataset: str
    concept: str
    anchor: str
    delta: float
    trained_for: str
    transfer: str
    evaluated_on: str
    metric: str
    value: float
    examples: int
    seed: int
    seconds: float
    unsafe: str = NOT_CHECKED
    outside_table: float = math.nan
    far_from_words: float = math.nan
    strange_output: float = math.nan
    turning_block: float = math.nan


def write_part(folder: str | Path, rows: Sequence[Record], key: str) -> Path:
    """Writes the rows of one unit of work under `folder`/results, whole or not at all.

    The file is named after `key`, which names the unit of work: done again it is the same file,
    and two units never share one. The first whole result stands and is not written again.
    """
    path = part_path(folder, key)
    if is_whole(path):
        return path
    table = _table(rows, {WRITTEN: datetime.now(UTC).isoformat().encode()})

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


def read(folder: str | Path, *, categorical: bool = False) -> pd.DataFrame:
    """The results of a run's folder, or of one parquet file, in one table.

    A record that stands in several parts is taken from the one written first; `results.parquet`
    adds what no part holds. Rows are sorted by what they identify.

    Args:
        folder: a run's folder or a file such as `results.parquet`.
        categorical: text columns as pandas categories, a tenth of the memory for a million words.

    Raises:
        UserError: there are no results, none can be read, or a file has other columns.

    Warns:
        UserWarning: names the cut-off files that were left out.
    """
    tables = [
        pa.Table.from_pandas(frame, schema=ENCODED, preserve_index=False)
        for frame in joined(pieces(_files(Path(folder))))
    ]
    whole = pa.concat_tables(tables).unify_dictionaries()
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
    """Writes all records of a run into one table, as `write_table`; gives them back."""
    write_table(folder, failed)
    return read(Path(folder) / "results.parquet")


def write_table(folder: str | Path, failed: Sequence[Record] = ()) -> int:
    """Writes all records of a run into `results.parquet` and `results.csv`.

    Memory does not grow with the rows, so long as parts are those of shards.

    Args:
        folder: the run's.
        failed: records without a value, of words that could not be trained.

    Returns:
        How many records there are.

    Raises:
        UserError: as `read`.
    """
    folder = Path(folder)
    found = pieces(_files(folder)) if not failed or _has_parts(folder) else []
    if failed:
        found.append(in_memory("failed", encoded(folder, _table(failed))))
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
            for frame in joined(found):
                table = pa.Table.from_pandas(frame, preserve_index=False).cast(SCHEMA)
                columns.write_table(table)
                lines.write_table(table)
                count += len(table)

    write_atomically(folder / "results.parquet", write)
    return count


def _table(rows: Sequence[Record], metadata: dict[bytes, bytes] | None = None) -> pa.Table:
    columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Record)}
    return pa.table(columns, schema=SCHEMA.with_metadata(metadata))


def _has_parts(folder: Path) -> bool:
    return any((folder / "results").glob("*.parquet"))


def _files(folder: Path) -> list[Path]:
    """The parquet files of a run; parts first, as they are what `results.parquet` is made of."""
    if folder.is_file():
        return [folder]
    whole = folder / "results.parquet"
    found = sorted((folder / "results").glob("*.parquet")) + [whole] * whole.is_file()
    if not found:
        there = "holds no results yet" if folder.is_dir() else "does not exist"
        raise UserError(f"{folder} {there}: results/*.parquet or results.parquet is needed.")
    return found


def is_whole(path: Path) -> bool:
    """Whether a parquet file is there and not cut off."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True

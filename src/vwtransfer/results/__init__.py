"""The results: one record for each word, transfer, target model and metric.

`vwtransfer.results.schema` says what each column is. A trial is one word, and a mean is over
trials. The three questions asked first:

    from vwtransfer import results
    from vwtransfer.results import statistics, summary

    frame = results.read("outputs/demo")        # or pandas.read_parquet of its results.parquet
    free = frame[frame.delta == float("inf")]
    words = free[free.kind == "word"]

    # How well do words do in their own model (transfer none), and how well in the others?
    reached = words.pivot_table("value", ["dataset", "source_model", "transfer"], "metric")

    # The same with 95 % intervals, at every delta, and what a transfer keeps of it
    table = summary.means(frame)                # mean, low, high, trials, failed, missing
    kept = statistics.retention(frame, "least_squares")   # .overall, .capped, .directions

    # Which words survive a transfer best, and which failed?
    moved = words[(words.transfer != "none") & (words.metric == "classifier_accuracy")]
    best = moved.nlargest(10, "value")[["source_model", "concept", "anchor", "value"]]
    failed = frame[frame.value.isna()][["source_model", "concept", "anchor", "delta"]]
"""

from vwtransfer.results.schema import BASELINES as BASELINES
from vwtransfer.results.schema import DESCRIPTIONS as DESCRIPTIONS
from vwtransfer.results.schema import DIAGNOSTICS as DIAGNOSTICS
from vwtransfer.results.schema import IDENTITY as IDENTITY
from vwtransfer.results.schema import NOT_CHECKED as NOT_CHECKED
from vwtransfer.results.schema import SCHEMA as SCHEMA
from vwtransfer.results.schema import WORD as WORD
from vwtransfer.results.schema import Record as Record
from vwtransfer.results.store import finish as finish
from vwtransfer.results.store import is_whole as is_whole
from vwtransfer.results.store import part_path as part_path
from vwtransfer.results.store import read as read
from vwtransfer.results.store import readable as readable
from vwtransfer.results.store import table as table
from vwtransfer.results.store import write_frame as write_frame
from vwtransfer.results.store import write_part as write_part
from vwtransfer.results.store import write_table as write_table

"""Means over words with their intervals, and the table that is printed at the end of a run."""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vwtransfer.errors import UserError
from vwtransfer.files import write_text
from vwtransfer.results.intervals import bootstrap_mean
from vwtransfer.words.cells import Cell

TASKS = ("generation", "detection", "classification")
DATASETS = ("imagenet", "dreambooth", "coco", "pascal")
BASELINES = {
    "anchor": "anchor word",
    "name": "concept's name",
    "random": "random vector",
    "chance": "chance",
}
HEADLINES = {
    "generation_accuracy": "accuracy",
    "mean_average_precision": "mAP, IoU 0.5",
    "classifier_accuracy": "accuracy",
    "classifier_balanced_accuracy": "balanced accuracy",
}
GROUP = ["dataset", "delta", "trained_for"]
KEYS = [*GROUP, "transfer", "evaluated_on", "metric"]
WORD = ["concept", "anchor", "seed"]
WIDTH = 112  # holds the longest name of a transfer beside four intervals


def means(frame: pd.DataFrame, planned: Sequence[Cell] = ()) -> pd.DataFrame:
    """A row for each dataset, delta, trained_for, transfer, evaluated_on and metric.

    Beside these: `mean`, `low` and `high` (95 % percentile bootstrap over words), `trials` (words
    in the mean), `failed` (words without a value) and `missing` (words of the study that have no
    row). Mean and ends are nan where every word failed.

    Args:
        frame: results as `results.read` gives them.
        planned: the study's cells. Without them what is missing is told from the words that were
            trained for the other tasks.

    Raises:
        UserError: the results mix several experiments, whose means would mean nothing.
    """
    experiments = sorted(frame["experiment"].unique())
    if len(experiments) > 1:
        raise UserError(
            f"the results mix {len(experiments)} experiments ({', '.join(experiments)}): take one, "
            'for instance frame[frame["experiment"] == "' + experiments[0] + '"].'
        )
    words = _planned_words(frame, planned)
    rows = []
    for key, group in frame.groupby(KEYS, observed=True)["value"]:
        values = group.dropna()
        mean, low, high, trials = (
            bootstrap_mean(values) if len(values) else (math.nan, math.nan, math.nan, 0)
        )
        missing = max(0, words.get(key[: len(GROUP)], len(group)) - len(group))
        rows.append((*key, mean, low, high, trials, len(group) - trials, missing))
    return pd.DataFrame(rows, columns=[*KEYS, "mean", "low", "high", "trials", "failed", "missing"])


def shortfalls(frame: pd.DataFrame, planned: Sequence[Cell] = ()) -> list[str]:
    """What is missing or failed, in a line for each dataset and task; empty when all is there.

    Args:
        frame: results.
        planned: as for `means`.
    """
    said: dict[tuple[str, str], list[str]] = {}
    for (dataset, delta, task), words, missing, failed in _gaps(frame, planned):
        for count, what in ((missing, "missing"), (failed, "failed")):
            if count > 0:
                line = f"{count} of {words} words trained for {task} {what}"
                said.setdefault((dataset, line), []).append(delta_name(delta))
    return [f"{dataset}: {line} ({', '.join(at)})" for (dataset, line), at in said.items()]


def incomplete(frame: pd.DataFrame, planned: Sequence[Cell] = ()) -> str:
    """How much of a study is missing or failed, in half a sentence; empty when all is there.

    Args:
        frame: results.
        planned: as for `means`.
    """
    gaps = _gaps(frame, planned)
    words = sum(words for _, words, _, _ in gaps)
    lacking = sum(max(0, missing) + failed for _, _, missing, failed in gaps)
    return f"{lacking:,} of {words:,} words are missing or failed" if lacking else ""


def _gaps(
    frame: pd.DataFrame, planned: Sequence[Cell]
) -> list[tuple[tuple[str, float, str], int, int, int]]:
    """(dataset, delta, task), how many words there should be, how many miss and how many failed."""
    rows = frame.groupby(KEYS, observed=True)["value"].agg(["size", "count"])
    fewest = rows.groupby(GROUP, observed=True).min()["size"]
    failures = (rows["size"] - rows["count"]).groupby(GROUP, observed=True).max()
    return [
        (key, words, words - int(fewest.get(key, 0)), int(failures.get(key, 0)))
        for key, words in sorted(_planned_words(frame, planned).items(), key=_rank)
    ]


def kept(table: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """Share of in-domain performance that transferred words keep, for each transfer method.

    The mean over datasets and directions of (mean of the transferred words) / (mean of the words
    trained in the evaluated model), unconstrained, in each task's first headline metric. The
    paper's figure 3 comes to 0.30.

    Args:
        table: from `means`.

    Returns:
        method -> (share, number of cells it is the mean of).
    """
    first = dict(reversed(panels(table)))
    chosen = table[(table["metric"] == table["evaluated_on"].map(first)) & (table["trials"] > 0)]
    chosen = chosen[chosen["delta"] == math.inf]
    own = chosen[chosen["trained_for"] == chosen["evaluated_on"]]
    own = own.set_index(["dataset", "evaluated_on"])["mean"]
    moved = chosen[chosen["transfer"] != "none"].join(
        own.rename("own"), on=["dataset", "evaluated_on"]
    )
    moved = moved[moved["own"] > 0]
    shares = (moved["mean"] / moved["own"]).groupby(moved["transfer"])
    return {method: (share.mean(), len(share)) for method, share in shares}


def panels(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(evaluated_on, metric) pairs to show: the headline metrics, in the paper's order of tasks.

    A task with no headline metric among its own is shown by its first metric.
    """
    shown = []
    for task in in_order(table["evaluated_on"].unique()):
        metrics = set(table.loc[table["evaluated_on"] == task, "metric"])
        headlines = [metric for metric in HEADLINES if metric in metrics]
        shown += [(task, metric) for metric in headlines or sorted(metrics)[:1]]
    return shown


def in_order(names: Iterable[str], first: Sequence[str] = TASKS) -> list[str]:
    """Tasks, or with `first=DATASETS` datasets, in the paper's order; others after them."""
    held = set(names)
    return [name for name in first if name in held] + sorted(held - set(first))


def delta_name(delta: float) -> str:
    """How a delta is called in tables and titles."""
    return "unconstrained" if math.isinf(delta) else f"delta {delta:g}"


def print_summary(
    frame: pd.DataFrame,
    console: Console,
    planned: Sequence[Cell] = (),
    remarks: Sequence[str] = (),
) -> None:
    """Prints, for each dataset and delta, a table of in-domain, transferred and baseline means.

    Args:
        frame: results.
        console: 100 columns show every interval on one line.
        planned: as for `means`.
        remarks: further lines, such as what was left out.
    """
    table = means(frame, planned)
    shown = panels(table)
    methods = " or ".join(sorted(set(table["transfer"]) - {"none"}))
    console.print(
        "Mean [95 % interval] over words. Rows: the task a word was trained for; columns: the "
        "model it was evaluated in"
        + (f", transferred by {methods} unless it is the word's own." if methods else "."),
        highlight=False,
    )
    for dataset in in_order(table["dataset"].unique(), DATASETS):
        of_dataset = table[table["dataset"] == dataset]
        for delta in sorted(of_dataset["delta"].unique(), key=delta_rank):
            part = of_dataset[of_dataset["delta"] == delta]
            console.print(_drawn(part, f"{dataset}, {delta_name(delta)}", shown))
    for method, (share, cells) in kept(table).items():
        console.print(
            f"Transferred by {method}, words keep {share:.0%} of in-domain performance "
            f"(unconstrained; mean over {cells} pairs of dataset and direction).",
            highlight=False,
        )
    for line in [*shortfalls(frame, planned), *remarks]:
        console.print(line, style="yellow", highlight=False)


def write_summary(
    frame: pd.DataFrame, path: Path, planned: Sequence[Cell] = (), remarks: Sequence[str] = ()
) -> None:
    """Writes what `print_summary` prints as plain text."""
    text = io.StringIO()
    print_summary(frame, Console(file=text, width=WIDTH, color_system=None), planned, remarks)
    write_text(path, text.getvalue())


def _drawn(part: pd.DataFrame, title: str, shown: Sequence[tuple[str, str]]) -> Table:
    """The table of one dataset and delta; in-domain means are bold."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    drawn.add_column("trained for", no_wrap=True)
    for task, metric in shown:
        drawn.add_column(f"{task}\n{HEADLINES.get(metric, metric)}", justify="right")
    drawn.add_column("words", justify="right")
    trained = part[~part["trained_for"].isin(BASELINES)]
    for task in in_order(trained["trained_for"].unique()):
        words = trained[trained["trained_for"] == task]
        methods = sorted(set(words["transfer"]) - {"none"})
        for method in methods or ["none"]:
            label = task if len(methods) < 2 else f"{task}\n{method}"
            _add_row(drawn, label, words[words["transfer"].isin(["none", method])], shown)
    drawn.add_section()
    for baseline, label in BASELINES.items():
        words = part[part["trained_for"] == baseline]
        if len(words):
            _add_row(drawn, label, words, shown)
    return drawn


def _add_row(
    drawn: Table, label: str, words: pd.DataFrame, shown: Sequence[tuple[str, str]]
) -> None:
    cells = []
    for task, metric in shown:
        row = words[(words["evaluated_on"] == task) & (words["metric"] == metric)]
        style = "bold" if len(row) and row["trained_for"].iat[0] == task else ""
        cells.append(Text(_cell(row), style=style))
    fewest, most = words["trials"].min(), words["trials"].max()
    drawn.add_row(label, *cells, f"{most}" if fewest == most else f"{fewest}-{most}")


def _cell(row: pd.DataFrame) -> str:
    """`0.86 [0.78, 0.93]`; without an interval for one trial; what there is to say for none."""
    if row.empty:
        return "-"
    mean, low, high, trials = row[["mean", "low", "high", "trials"]].iloc[0]
    if not trials:
        return "failed"
    # chance is computed: it is the same for every word
    alone = trials == 1 or row["trained_for"].iat[0] == "chance"
    return f"{mean:.2f}" if alone else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def delta_rank(delta: float) -> tuple[bool, float]:
    """Sorts unconstrained words first, then by delta."""
    return not math.isinf(delta), delta


def _rank(item: tuple[tuple[str, float, str], int]) -> tuple[object, ...]:
    (dataset, delta, task), _ = item
    return dataset, delta_rank(delta), in_order([*TASKS, task]).index(task)


def _planned_words(
    frame: pd.DataFrame, planned: Sequence[Cell]
) -> dict[tuple[str, float, str], int]:
    """How many words there should be for each (dataset, delta, task)."""
    if planned:
        cells = pd.Series([(cell.dataset, cell.delta, cell.task) for cell in planned])
        return cells.value_counts().to_dict()
    trained = frame[~frame["trained_for"].isin(BASELINES)]
    tasks = trained["trained_for"].unique()
    words = trained[["dataset", "delta", *WORD]].drop_duplicates()
    counts = words.groupby(["dataset", "delta"], observed=True).size()
    return {(*key, task): int(count) for key, count in counts.items() for task in tasks}

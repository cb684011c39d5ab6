"""Means over words with their intervals, and the table that is printed at the end of a run."""

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vwtransfer.errors import UserError
from vwtransfer.files import write_text
from vwtransfer.progress import terminal
from vwtransfer.results.schema import BASELINES, WORD
from vwtransfer.results.statistics import LEAST_GAIN, Unit, means_by, retention
from vwtransfer.words.cells import Cell

TASKS = ("generation", "detection", "classification")
DATASETS = ("imagenet", "dreambooth", "coco", "pascal")
HEADLINES = {
    "generation_accuracy": "accuracy",
    "mean_average_precision": "mAP, IoU 0.5",
    "classifier_accuracy": "accuracy",
    "classifier_balanced_accuracy": "balanced accuracy",
    "photo_accuracy": "accuracy by photos",
    "classifier_average_precision": "average precision",
    "clip_i": "CLIP-I",
    "dino": "DINO",
    "clip_t": "CLIP-T",
}
"""Metric -> its name, for those that are shown."""
GROUP = ["dataset", "delta", "kind", "source_model"]
KEYS = [*GROUP, "source_task", "transfer", "target_model", "target_task", "metric"]
WIDTH = 112  # holds the longest name of a transfer beside four intervals
COLUMNS = 4  # panels side by side

Panel = tuple[str, str]
"""(target model, metric)"""
Words = tuple[str, float, str]
"""(dataset, delta, model) of words."""


def means(
    frame: pd.DataFrame, planned: Sequence[Cell] = (), *, unit: Unit = "concept"
) -> pd.DataFrame:
    """A row for each of KEYS: dataset, delta, kind, source and target model, transfer and metric.

    Beside these: `mean`, `low` and `high` (the 95 % interval), `trials` (words in the mean),
    `failed` (words without a value) and `missing` (words of the study that have no row). Mean and
    ends are nan where every word failed.

    Args:
        frame: results as `results.read` gives them.
        planned: the study's cells. Without them what is missing is told from the words that were
            trained in the other models.
        unit: what the intervals resample first; "word" is for comparisons with published values.

    Raises:
        UserError: the results mix several experiments, whose means would mean nothing.
    """
    experiments = sorted(frame["experiment"].unique())
    if len(experiments) > 1:
        raise UserError(
            f"the results mix {len(experiments)} experiments ({', '.join(experiments)}): take one, "
            'for instance frame[frame["experiment"] == "' + experiments[0] + '"].'
        )
    table = means_by(frame, KEYS, unit=unit)
    words = _planned_words(frame, planned)
    there = table["trials"] + table["failed"]
    of_row = zip(table["dataset"], table["delta"], table["source_model"], there, strict=True)
    table["missing"] = [
        max(0, words.get((dataset, delta, model), count) - count)
        for dataset, delta, model, count in of_row
    ]
    return table


def shortfalls(frame: pd.DataFrame, planned: Sequence[Cell] = ()) -> list[str]:
    """What is missing or failed, in a line for each dataset and model; empty when all is there.

    Args:
        frame: results.
        planned: as for `means`.
    """
    said: dict[tuple[str, str], list[str]] = {}
    for (dataset, delta, model), words, missing, failed in _gaps(frame, planned):
        for count, what in ((missing, "missing"), (failed, "failed")):
            if count > 0:
                line = f"{count} of {words} words of {model} {what}"
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


def _gaps(frame: pd.DataFrame, planned: Sequence[Cell]) -> list[tuple[Words, int, int, int]]:
    """Which words, how many there should be, how many miss and how many failed."""
    trained = frame[frame["kind"] == WORD]
    rows = trained.groupby(KEYS, observed=True)["value"].agg(["size", "count"])
    of = ["dataset", "delta", "source_model"]
    fewest = rows.groupby(of, observed=True)["size"].min()
    failures = (rows["size"] - rows["count"]).groupby(of, observed=True).max()
    order = models_in_order(tasks_of(frame))

    def rank(words: Words) -> tuple[object, ...]:
        dataset, delta, model = words
        return dataset, delta_rank(delta), [*order, model].index(model), model

    planned_words = _planned_words(frame, planned)
    return [
        (key, count, count - int(fewest.get(key, 0)), int(failures.get(key, 0)))
        for key, count in ((key, planned_words[key]) for key in sorted(planned_words, key=rank))
    ]


def retention_lines(frame: pd.DataFrame) -> list[str]:
    """What unconstrained words keep of their performance, a line for each transfer method."""
    lines = []
    for method in sorted(set(frame["transfer"]) - {"none"}):
        found = retention(frame, method)
        undefined = len(found.undefined)
        left = (
            f"; undefined in {undefined} more, where training in the target gains less than "
            f"{LEAST_GAIN} over the anchor or was not measured"
        )
        pairs = f"{found.defined} pair{'s' * (found.defined != 1)} of direction and dataset"
        value = (
            f"retention {found.overall}, capped {found.capped} (unconstrained; mean over {pairs}"
            if found.defined
            else f"retention is not defined (unconstrained; {pairs}"
        )
        lines.append(f"{method}: {value}{left * bool(undefined)}).")
    return lines


def panels(table: pd.DataFrame) -> list[Panel]:
    """(target model, metric) pairs to show: the headline metrics, models in order.

    A model with no headline metric among its own is shown by its first metric.
    """
    shown = []
    tasks = tasks_of(table)
    held = set(table["target_model"])
    for model in [model for model in models_in_order(tasks) if model in held]:
        metrics = set(table.loc[table["target_model"] == model, "metric"])
        headlines = [metric for metric in HEADLINES if metric in metrics]
        shown += [(model, metric) for metric in headlines or sorted(metrics)[:1]]
    return shown


def tasks_of(frame: pd.DataFrame) -> dict[str, str]:
    """Model -> its task, of all models that results or their means name."""
    pairs: set[tuple[str, str]] = set()
    for end in ("source", "target"):
        named = frame[[f"{end}_model", f"{end}_task"]].drop_duplicates()
        pairs |= set(named.itertuples(index=False, name=None))
    return dict(sorted(pairs - {("", "")}))


def models_in_order(tasks: Mapping[str, str]) -> list[str]:
    """Models by their task, in the paper's order, and then by name.

    Args:
        tasks: model -> its task.
    """
    order = in_order(tasks.values())
    return sorted(tasks, key=lambda model: (order.index(tasks[model]), model))


def label_of(model: str, tasks: Mapping[str, str]) -> str:
    """A model's name with its task, unless that is its name: `tiny_sd (generation)`."""
    task = tasks.get(model, model)
    return model if model == task else f"{model} ({task})"


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
    tasks = tasks_of(table)
    methods = " or ".join(sorted(set(table["transfer"]) - {"none"}))
    console.print(
        "Mean [95 % interval, resampling concepts, then anchors] over words. Rows: the model a "
        "word was trained in; columns: the model it was evaluated in"
        + (f", transferred by {methods} unless it is the word's own." if methods else "."),
        highlight=False,
    )
    for dataset in in_order(table["dataset"].unique(), DATASETS):
        of_dataset = table[table["dataset"] == dataset]
        for delta in sorted(of_dataset["delta"].unique(), key=delta_rank):
            part = of_dataset[of_dataset["delta"] == delta]
            for start in range(0, len(shown), COLUMNS):
                beside = shown[start : start + COLUMNS]
                console.print(_drawn(part, f"{dataset}, {delta_name(delta)}", beside, tasks))
    for line in retention_lines(frame):
        console.print(line, highlight=False)
    for line in [*shortfalls(frame, planned), *remarks]:
        console.print(line, style="yellow", highlight=False)


def write_summary(
    frame: pd.DataFrame, path: Path, planned: Sequence[Cell] = (), remarks: Sequence[str] = ()
) -> None:
    """Writes what `print_summary` prints as plain text."""
    text = io.StringIO()
    print_summary(frame, terminal(width=WIDTH, file=text, color_system=None), planned, remarks)
    write_text(path, text.getvalue())


def _drawn(
    part: pd.DataFrame, title: str, shown: Sequence[Panel], tasks: Mapping[str, str]
) -> Table:
    """The table of one dataset and delta; in-domain means are bold."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    drawn.add_column("words of", no_wrap=True)
    for model, metric in shown:
        task = [tasks[model]] * (tasks[model] != model)
        head = "\n".join([model, *task, HEADLINES.get(metric, metric)])
        drawn.add_column(head, justify="right")
    drawn.add_column("words", justify="right")
    targets = {model for model, _ in shown}
    for model in models_in_order(tasks):
        words = part[(part["kind"] == WORD) & (part["source_model"] == model)]
        name = model if model in targets else label_of(model, tasks)
        methods = sorted(set(words["transfer"]) - {"none"})
        for method in methods or ["none"] * bool(len(words)):
            label = name if len(methods) < 2 else f"{name}\n{method}"
            _add_row(drawn, label, words[words["transfer"].isin(["none", method])], shown)
    drawn.add_section()
    for baseline, label in BASELINES.items():
        words = part[part["kind"] == baseline]
        if len(words):
            _add_row(drawn, label, words, shown)
    return drawn


def _add_row(drawn: Table, label: str, words: pd.DataFrame, shown: Sequence[Panel]) -> None:
    cells = []
    for model, metric in shown:
        row = words[(words["target_model"] == model) & (words["metric"] == metric)]
        style = "bold" if len(row) and row["source_model"].iat[0] == model else ""
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
    alone = trials == 1 or row["kind"].iat[0] == "chance"
    return f"{mean:.2f}" if alone else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def delta_rank(delta: float) -> tuple[bool, float]:
    """Sorts unconstrained words first, then by delta."""
    return not math.isinf(delta), delta


def _planned_words(frame: pd.DataFrame, planned: Sequence[Cell]) -> dict[Words, int]:
    """How many words there should be of each model at each delta of each dataset."""
    if planned:
        return dict(Counter((cell.dataset, cell.delta, cell.model) for cell in planned))
    trained = frame[frame["kind"] == WORD]
    models = trained["source_model"].unique()
    words = trained[["dataset", "delta", "concept", "anchor", "seed"]].drop_duplicates()
    counts = words.groupby(["dataset", "delta"], observed=True).size()
    return {(*key, model): int(count) for key, count in counts.items() for model in models}

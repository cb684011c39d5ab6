"""The tables of docs/tiny_words.md, from what is kept of its words; trains and measures nothing.

python benchmarks/tiny_words.py
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from vwtransfer import results
from vwtransfer.results.statistics import HEADLINE, UNCONSTRAINED, Estimate, bootstrap_mean, mean_of
from vwtransfer.results.summary import TASKS

KEPT = Path(__file__).parents[1] / "kept"
HEAD = (
    "accuracy in generation",
    "mAP (IoU 0.5) in detection",
    "balanced accuracy in classification",
)
BASELINES = {
    "anchor": "the anchor",
    "random": "random vectors",
    "name": "the concept's name",
}


def mean(frame: pd.DataFrame, kind: str, source_task: str, target_task: str) -> Estimate:
    """Mean over datasets of the means over words, in the target's headline metric."""
    chosen = frame[
        (frame["kind"] == kind)
        & (frame["source_task"] == source_task)
        & (frame["target_task"] == target_task)
        & (frame["metric"] == HEADLINE[target_task])
    ]
    return mean_of(
        bootstrap_mean(rows["value"], rows["concept"], dataset=str(dataset))
        for dataset, rows in chosen.groupby("dataset")
    )


def rows_of(frame: pd.DataFrame) -> Iterator[list[str]]:
    """A row for the words of each task and for each baseline; own models in bold."""
    for source in TASKS:
        row = [f"words of {source}"]
        for target in TASKS:
            value, space, interval = str(mean(frame, results.WORD, source, target)).partition(" ")
            row.append(
                f"**{value}**{space}{interval}" if target == source else value + space + interval
            )
        yield row
    for kind, label in BASELINES.items():
        if (frame["kind"] == kind).any():
            yield [label, *(str(mean(frame, kind, "", target)) for target in TASKS)]


def section_4() -> list[list[str]]:
    """Unconstrained words and baselines."""
    frame = results.read(KEPT / "tiny_section4/results.parquet")
    return [["", *HEAD], ["---"] * 4, *rows_of(frame)]


def section_5() -> list[list[str]]:
    """Words in balls."""
    frame = results.read(KEPT / "tiny_section5/results.parquet")
    table = [["delta", "", *HEAD], ["---"] * 5]
    for delta, rows in frame[frame["delta"] < UNCONSTRAINED].groupby("delta"):
        deltas = [str(delta), "", ""]
        table += [[first, *row] for first, row in zip(deltas, rows_of(rows), strict=True)]
    return table


def lines(table: list[list[str]]) -> list[str]:
    """The table in Markdown."""
    return [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in table]


if __name__ == "__main__":
    print(
        "\n".join(["Section 4", "", *lines(section_4()), "", "Section 5", "", *lines(section_5())])
    )

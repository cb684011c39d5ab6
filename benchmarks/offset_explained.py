"""What explains offset_matching: its search for a word, or the offset that it takes away?

    python benchmarks/offset_explained.py outputs/third_benchmark_description

In a benchmark that has offset_matching: the two rows without a word (the nearest phrase typed, the
mapped output used as it is), and the same two after the offset of the other datasets' words was
taken away, which is all that offset_matching knows. docs/transfer.md
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from benchmark_folder import BenchmarkFolder

from vwtransfer.leaderboard.cheapest import CHEAPEST, Cheapest
from vwtransfer.results.statistics import retention
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.transfer.calibration_words import common_offset


@torch.no_grad()
def main() -> None:
    """Prints retention by each row, with and without the offset, in each direction."""
    folder = BenchmarkFolder(Path(sys.argv[1]))
    models, tasks, added = folder.suite.models, tasks_of(folder.config, folder.suite), []
    for source, target in folder.config.direction:
        here, there = models[source], models[target]
        task = tasks[there.task]
        for dataset in folder.datasets.values():
            rows = folder.rows(CHEAPEST[0], dataset, target, source)
            words, words_NKD = folder.words(rows)
            support, excluded = folder.known(dataset, source, target)
            held_out = task.held_out(there, dataset)
            for name in CHEAPEST:
                found = Cheapest(name, 8000).fit(here.text, there.text, support, excluded)
                reading = found.source.reading
                offset_RF, _ = common_offset(folder.path, reading, excluded)
                mean_RF = reading.mean_RF + offset_RF * reading.scale_F
                less = replace(found.source, reading=replace(reading, mean_RF=mean_RF))
                prompts = replace(found, source=less).prompts(there.prompt_template, words_NKD)
                measured = task.measure(there, prompts, held_out, [c.concept for c in words])
                added.append(folder.renamed(rows, f"{name}, less the offset", measured))
    frame = pd.concat([folder.frame, *added], ignore_index=True)
    names = [name for each in CHEAPEST for name in (each, f"{each}, less the offset")]
    for method in [*names, "readout_matching", "offset_matching"]:
        kept = retention(frame, method)
        each = "; ".join(f"{a} to {b} {kept}" for (a, b), kept in kept.directions.items())
        print(f"{method}: {kept.overall}, capped {kept.capped} ({each})")


if __name__ == "__main__":
    main()

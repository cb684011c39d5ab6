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

from vwtransfer import results
from vwtransfer.config.saved import read_config
from vwtransfer.datasets import left_out_of
from vwtransfer.leaderboard.cheapest import CHEAPEST, Cheapest
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.results.statistics import headline, retention
from vwtransfer.study import LEFT_OUT, data_loading
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.transfer.calibration_words import common_offset
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore


@torch.no_grad()
def main() -> None:
    """Prints retention by each row, with and without the offset, in each direction."""
    folder = Path(sys.argv[1])
    config = read_config(folder / "config.yaml")
    suite, datasets = build(config, torch.device("cpu")), data_loading.opened(config)
    tasks, store = tasks_of(config, suite), WordStore(folder / "words")
    frame = headline(results.read(folder))
    added = []
    for source, target in config.direction:
        here, there = suite.models[source], suite.models[target]
        task = tasks[there.task]
        for dataset in datasets.values():
            like = (frame["transfer"] == CHEAPEST[0]) & (frame["dataset"] == dataset.name)
            like &= (frame["source_model"] == source) & (frame["target_model"] == target)
            rows = frame[like]
            words = [
                Cell(dataset.name, source, str(row.concept), str(row.anchor), row.delta, row.seed)
                for row in rows.itertuples()
            ]
            words_NKD = torch.stack([store.load(cell).vectors_KD for cell in words])
            excluded = left_out_of(dataset, config.transfer.exclude)
            support = support_of(here.text, there.text)
            support = support.without(excluded, LEFT_OUT[config.transfer.exclude])
            held_out = task.held_out(there, dataset)
            for name in CHEAPEST:
                found = Cheapest(name, 8000).fit(here.text, there.text, support, excluded)
                reading = found.source.reading
                offset_RF, _ = common_offset(folder, reading, excluded)
                mean_RF = reading.mean_RF + offset_RF * reading.scale_F
                less = replace(found.source, reading=replace(reading, mean_RF=mean_RF))
                prompts = replace(found, source=less).prompts(there.prompt_template, words_NKD)
                measured = task.measure(there, prompts, held_out, [c.concept for c in words])
                values = [
                    each.values[metric]
                    for each, metric in zip(measured, rows["metric"].astype(str), strict=True)
                ]
                added.append(rows.assign(transfer=f"{name}, less the offset", value=values))
    frame = pd.concat([frame.astype({"transfer": str}), *added], ignore_index=True)
    names = [name for each in CHEAPEST for name in (each, f"{each}, less the offset")]
    for method in [*names, "readout_matching", "offset_matching"]:
        kept = retention(frame, method)
        each = "; ".join(f"{a} to {b} {kept}" for (a, b), kept in kept.directions.items())
        print(f"{method}: {kept.overall}, capped {kept.capped} ({each})")


if __name__ == "__main__":
    main()

"""What several words of a concept carry together: of two anchors, and of two source models.

    python benchmarks/jointly.py outputs/transfer_benchmark_test

In a benchmark with readout_matching, one word is searched for that the target reads as the mean of
what is wanted for each of them. This knows more than a method that maps a word alone, and so is
ranked apart. docs/transfer.md
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from benchmark_folder import BenchmarkFolder
from torch import Tensor

from vwtransfer.models.suite import build_part
from vwtransfer.results.statistics import mean_of, retention
from vwtransfer.tasks.registry import tasks_of
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.output_matching import MatchingMap
from vwtransfer.words.cells import Cell

METHOD = "readout_matching"
KINDS = {  # what words have in common that are mapped as one
    "words of all anchors": ("concept", "source"),
    "words of both other models": ("concept", "anchor"),
    "all words": ("concept",),
}


def together(
    fitted: MatchingMap, wanted: Mapping[Cell, Tensor], groups: Sequence[Sequence[Cell]], K: int
) -> Tensor:
    """A word [K, D] for each group of words, [N, K, D].

    Args:
        fitted: any map into the target.
        wanted: what the target is to read of each word, [R, F].
        groups: N of them.
        K: vectors a word.
    """
    wanted_NRF = torch.stack(
        [F.normalize(torch.stack([wanted[c] for c in g]), dim=-1).mean(0) for g in groups]
    )
    found = []
    for part_NRF in wanted_NRF.split(64):
        asked = replace(fitted, wanted=lambda words, part_NRF=part_NRF: part_NRF)
        found.append(asked(torch.zeros(len(part_NRF), K, fitted.tokens_SD.shape[1])))
    return torch.cat(found)


@torch.no_grad()
def main() -> None:
    """Prints retention of words that are mapped alone and together, in each direction."""
    folder = BenchmarkFolder(Path(sys.argv[1]))
    config, models = folder.config, folder.suite.models
    tasks, readings = tasks_of(config, folder.suite), KeptReadings()
    method = build_part(config.benchmark.methods[METHOD], "transfer", readings=readings)
    added = []
    for target in dict.fromkeys(target for _, target in config.direction):
        there = models[target]
        for dataset in folder.datasets.values():
            rows = folder.rows(METHOD, dataset, target)
            wanted: dict[Cell, Tensor] = {}
            for source, mine in rows.groupby("source_model", observed=True):
                support, excluded = folder.known(dataset, str(source), target)
                fitted = method.fit(models[str(source)].text, there.text, support, excluded)
                words, words_NKD = folder.words(mine)
                wanted |= dict(zip(words, fitted.wanted(words_NKD), strict=True))
            held_out = tasks[there.task].held_out(there, dataset)
            for kind, keys in KINDS.items():
                groups: dict[tuple[str, ...], list[Cell]] = {}
                for cell in wanted:
                    of_cell = {"concept": cell.concept, "anchor": cell.anchor, "source": cell.model}
                    groups.setdefault(tuple(of_cell[key] for key in keys), []).append(cell)
                found_NKD = together(fitted, wanted, list(groups.values()), words_NKD.shape[1])
                prompts = there.text.encode_words(there.prompt_template, found_NKD)
                concepts = [group[0].concept for group in groups.values()]
                measured = tasks[there.task].measure(there, prompts, held_out, concepts)
                value = {
                    (cell.model, cell.concept, cell.anchor): each.values
                    for group, each in zip(groups.values(), measured, strict=True)
                    for cell in group
                }
                values = [
                    value[str(r.source_model), str(r.concept), str(r.anchor)][str(r.metric)]
                    for r in rows.itertuples()
                ]
                added.append(rows.assign(transfer=kind, value=values))
    frame = pd.concat([folder.frame, *added], ignore_index=True)
    estimates = {name: retention(frame, name) for name in [METHOD, *KINDS]}
    alone = estimates[METHOD]
    best = [  # of the models that a word may come from, the one whose words keep most
        max(
            (d for d in alone.directions if d[1] == target), key=lambda d: alone.directions[d].value
        )
        for target in dict.fromkeys(target for _, target in alone.directions)
    ]
    for name, kept in estimates.items():
        each = "; ".join(f"{a} to {b} {kept}" for (a, b), kept in kept.directions.items())
        more = mean_of(kept.directions[d] - alone.directions[d] for d in best)
        print(
            f"{name}: {kept.overall}, capped {kept.capped}, more than alone by "
            f"{kept.overall - alone.overall}, than the better model alone by {more} ({each})"
        )


if __name__ == "__main__":
    main()

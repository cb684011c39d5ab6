"""What converted words look like, and what foretells without images how well they draw.

    vwtransfer experiment=convert_benchmark      # trains, converts, measures: an hour
    vwtransfer experiment=convert_benchmark name=convert_benchmark_dev benchmark.split=dev ...
    python benchmarks/convert.py differences outputs/convert_benchmark
    python benchmarks/convert.py signals outputs/convert_benchmark_dev outputs/convert_benchmark
    python benchmarks/convert.py figure outputs/convert_benchmark docs/convert.png

docs/convert.md
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from benchmark_folder import BenchmarkFolder
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import ConstantInputWarning

from vwtransfer import results
from vwtransfer.conversion.converter import shared_phrases
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.leaderboard.cheapest import CHEAPEST
from vwtransfer.models.suite import build_part
from vwtransfer.results.statistics import mean_of, retention
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.output_matching import MatchingMap

OURS = "combined_matching"
TARGETS, SOURCE = ("tiny_sd_b", "tiny_sdxl", "tiny_flux"), "tiny_sd"
SIGNALS = ("agreement", "nearest before", "nearest after", "shared", "round trip")
RESAMPLES = 2000


@torch.no_grad()
def signals_of(folder: Path) -> pd.DataFrame:
    """A row for each converted word: its score in the target, and what is seen without images."""
    opened, readings = BenchmarkFolder(folder), KeptReadings()
    method = build_part(opened.config.benchmark.methods[OURS], "transfer", readings=readings)
    found = []
    for source, target in opened.config.direction:
        here, there = (opened.suite.models[name].text for name in (source, target))
        for dataset in opened.datasets.values():
            rows = opened.rows(OURS, dataset, target, source)
            words, words_NKD = opened.words(rows)
            support, excluded = opened.known(dataset, source, target)
            there_map: MatchingMap = method.fit(here, there, support, excluded)
            back_map: MatchingMap = method.fit(there, here, support, excluded)
            with torch.enable_grad():
                mapped_NKD = there_map(words_NKD)
                back_NKD = back_map(mapped_NKD)
            reading = back_map.target.reading
            round_trip_NR = F.cosine_similarity(reading(words_NKD), reading(back_NKD), dim=-1)
            values: dict[str, Sequence[float]] = {
                "score": rows["value"].tolist(),
                "agreement": there_map.agreement(words_NKD, mapped_NKD).tolist(),
                "nearest before": [each[0][1] for each in there_map.source.nearest(words_NKD, 1)],
                "nearest after": [each[0][1] for each in there_map.target.nearest(mapped_NKD, 1)],
                "shared": shared_phrases(there_map, words_NKD, mapped_NKD),
                "round trip": round_trip_NR.mean(dim=1).tolist(),
            }
            about = {"source": source, "target": target, "dataset": dataset.name}
            concepts = [cell.concept for cell in words]
            found.append(pd.DataFrame({**values, "concept": concepts}).assign(**about))
        print(f"{source} to {target}", flush=True)
    return pd.concat(found, ignore_index=True)


def rank_correlation(frame: pd.DataFrame, name: str) -> str:
    """Spearman's within each direction, their mean, with a 95 % interval over concepts."""
    directions = [part for _, part in frame.groupby(["source", "target"])]
    keyed = [part.set_index(["dataset", "concept"])[[name, "score"]] for part in directions]
    concepts = list(keyed[0].index)
    stream = torch.Generator().manual_seed(0)
    picks = torch.randint(len(concepts), (RESAMPLES, len(concepts)), generator=stream).tolist()

    def mean(chosen: Sequence[tuple[str, str]]) -> float:
        drawn = [part.loc[list(chosen)] for part in keyed]
        return float(pd.Series([d[name].corr(d["score"], method="spearman") for d in drawn]).mean())

    resampled = pd.Series([mean([concepts[n] for n in pick]) for pick in picks])
    low, high = resampled.quantile([0.025, 0.975])
    return f"{mean(concepts):.2f} [{low:.2f}, {high:.2f}]"


def signals(folders: Sequence[Path]) -> None:
    """What correlates with a converted word's score, and what dropping the least of it keeps."""
    for folder in folders:
        kept = folder / "signals.csv"
        frame = pd.read_csv(kept) if kept.exists() else signals_of(folder)
        frame.to_csv(kept, index=False)
        print(f"{folder.name}: {len(frame)} words, score {frame['score'].mean():.2f}")
        for name in SIGNALS:
            rank = frame.groupby(["source", "target"])[name].rank(pct=True)
            dropped = [frame["score"][rank > share].mean() for share in (0.25, 0.5)]
            print(
                f"  {name:14} rank correlation {rank_correlation(frame, name)}; "
                f"without the lowest quarter {dropped[0]:.2f}, half {dropped[1]:.2f}"
            )


def differences(folder: Path) -> None:
    """How much more ours retains than each other method, of all directions and of two groups."""
    config, frame = BenchmarkFolder(folder).config, results.read(folder)
    kept = {name: retention(frame, name) for name in (*config.benchmark.methods, CHEAPEST[0])}
    groups = {
        "all": list(config.direction),
        "CLIPs": [d for d in config.direction if "tiny_flux" not in d],
        "with T5": [d for d in config.direction if "tiny_flux" in d],
        f"from {SOURCE}": [d for d in config.direction if d[0] == SOURCE],
        f"into {SOURCE}": [d for d in config.direction if d[1] == SOURCE],
    }
    for group, chosen in groups.items():
        for name, each in kept.items():
            value = mean_of(each.directions[d] for d in chosen)
            more = mean_of(kept[OURS].directions[d] - each.directions[d] for d in chosen)
            print(f"{group:14} {name:22} {value}; {OURS} more by {more}")


def figure(folder: Path, out: Path) -> None:
    """For eight concepts: a photo, the word in tiny_sd, and what others draw of it, converted."""
    images = saved_images(folder / "images")
    images = images[(images["number"] == 0) & (images["source_model"] == SOURCE)]
    datasets = BenchmarkFolder(folder).datasets
    concepts = [(d, c) for d in datasets.values() for c in list(d.concepts)[:7:6]][:8]
    columns = ["photo", f"{SOURCE}: the word", *(f"{target}: converted" for target in TARGETS)]
    drawn = Figure(figsize=(1.5 * len(columns), 1.5 * len(concepts)), layout="constrained")
    axes = drawn.subplots(len(concepts), len(columns), squeeze=False)
    for row, (dataset, concept) in enumerate(concepts):
        mine = images[(images["dataset"] == dataset.name) & (images["concept"] == concept)]
        own = mine[mine["target_model"] == SOURCE]["path"].iloc[0]
        by_us = mine[mine["transfer"] == OURS].set_index("target_model")["path"]
        pictures = [dataset.training(concept)[0].load(), Image.open(own)]
        pictures += [Image.open(by_us[target]) for target in TARGETS]
        for column, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.set(xticks=[], yticks=[])
            axis.imshow(picture)
            if row == 0:
                axis.set_title(columns[column], fontsize=8)
        axes[row, 0].set_ylabel(dataset.concepts[concept].replace(" ", "\n"), fontsize=8)
    drawn.savefig(out, dpi=110)
    print(out)


if __name__ == "__main__":
    # in some resamples all words of a direction score alike, and correlate with nothing
    warnings.simplefilter("ignore", ConstantInputWarning)
    what, *given = sys.argv[1:]
    if what == "signals":
        signals([Path(each) for each in given])
    elif what == "differences":
        differences(Path(given[0]))
    elif what == "figure":
        figure(Path(given[0]), Path(given[1]))
    else:
        sys.exit(__doc__)

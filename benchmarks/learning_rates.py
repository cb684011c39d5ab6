"""How the learning rate moves what words reach, and what each transfer method keeps of them.

    python benchmarks/learning_rates.py 0.1 0.3 1 3      # words, maps, measurements
    python benchmarks/learning_rates.py                  # the table of docs/transfer.md

Words of the 20 concepts to develop on, one anchor a concept, trained in the detector and the
classifier at their own learning rate times each of the numbers, all else as it is.
"""

import subprocess
import sys
from pathlib import Path

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.results.statistics import Estimate, bootstrap_mean, headline, mean_of, retention

FOLDER = Path("outputs/learning_rates")
METHODS = ("least_squares", "procrustes", "output_matching", "knn_matching", "readout_matching")
OFFSET = "offset_matching"
TASKS = ("detection", "classification")


def keys_of(times: float) -> list[str]:
    """The benchmark at another learning rate, with fewer methods."""
    plain = compose(["experiment=transfer_benchmark"])
    dropped = [name for name in plain.benchmark.methods if name not in METHODS]
    rates = {
        task: plain.model.models[plain.model.of_task(task)[0]]["training"]["learning_rate"]
        for task in TASKS
    }
    return [
        *("experiment=transfer_benchmark", "anchor=paired", f"outputs={FOLDER}"),
        *(f"~transfer@benchmark.methods.{name}" for name in dropped),
        *(f"model.{task}.training.learning_rate={times * rate:g}" for task, rate in rates.items()),
        *("task=[detection,classification]", f"name=times_{times:g}"),
        "direction.pairs=[[tiny_owlv2,tiny_clip],[tiny_clip,tiny_owlv2]]",
        *(f"+transfer@benchmark.methods.{OFFSET}={OFFSET}", "benchmark.page=null"),
        f"benchmark.methods.{OFFSET}.offset_words={FOLDER}/times_{times:g}",
    ]


def reached(times: float, task: str) -> Estimate:
    """What words do in their own model, the mean over datasets."""
    rows = headline(results.read(FOLDER / f"times_{times:g}"))
    own = (rows["kind"] == results.WORD) & (rows["target_model"] == rows["source_model"])
    rows = rows[own & (rows["target_task"] == task)]
    return mean_of(
        bootstrap_mean(of["value"], of["concept"].astype(str), dataset=str(dataset))
        for dataset, of in rows.groupby("dataset", observed=True)
    )


def main() -> None:
    """Does what is asked for, or prints what is there."""
    for times in map(float, sys.argv[1:]):
        subprocess.run(["vwtransfer", *keys_of(times)], check=True)
    if sys.argv[1:]:
        return
    there = sorted(float(path.name.split("_")[1]) for path in FOLDER.glob("times_*"))
    print(f"| learning rate, times | {' | '.join(f'{times:g}' for times in there)} |")
    print("| --- " * (len(there) + 1) + "|")
    for task in TASKS:
        cells = [str(reached(times, task)) for times in there]
        print(f"| in their own model, {task} | {' | '.join(cells)} |")
    for method in (*METHODS, OFFSET):
        frames = [results.read(FOLDER / f"times_{times:g}") for times in there]
        cells = [str(retention(frame, method).overall) for frame in frames]
        print(f"| retention, `{method}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

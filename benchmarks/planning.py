"""Planning and watching a large grid: time and memory, and how they grow.

    OMP_NUM_THREADS=1 python benchmarks/planning.py [WORDS ...]     (1000 10000 100000 1000000)

The words are empty files and the rows are random, in a temporary folder that says so: what is
measured is how long it takes to look at them. Half of the shards are done.
"""

import contextlib
import io
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vwtransfer import results
from vwtransfer.cluster.arrays import arrays
from vwtransfer.cluster.history import Event, record
from vwtransfer.cluster.plan import plan
from vwtransfer.cluster.shards import Shard, shards
from vwtransfer.cluster.status import status
from vwtransfer.config import Config
from vwtransfer.config.composition import compose

WORDS_OF_A_CONCEPT = 3 * 4 * 10 * 4  # models, datasets, anchors, deltas
METRICS = {
    "generation": ["generation_accuracy"],
    "detection": ["mean_average_precision", "mean_average_precision_50_95"],
    "classification": ["classifier_accuracy", "classifier_balanced_accuracy"],
}


def grid(words: int, outputs: Path) -> Config:
    """The paper's grid with as many concepts as it takes."""
    config = compose(["experiment=tiny_section5", f"outputs={outputs}", f"name=fabricated_{words}"])
    count = max(1, round(words / WORDS_OF_A_CONCEPT))
    concepts = {f"concept_{i:05}": f"concept {i}" for i in range(count)}
    datasets = {name: replace(d, concepts=concepts) for name, d in config.dataset.items()}
    return replace(config, dataset=datasets)


def fabricate(config: Config, done: list[Shard]) -> None:
    """Files of finished shards that nobody trained."""
    (config.folder / "results").mkdir(parents=True)
    (config.folder / "FABRICATED").write_text("by benchmarks/planning.py; nothing was trained\n")
    rng = np.random.default_rng(0)
    for shard in done:
        folder = config.folder / "words" / shard.folder
        folder.mkdir(parents=True)
        for end in shard.ends:
            (folder / f"{end}.safetensors").touch()
        finished = Event("finished", "", 40.0, len(shard.ends), "", "fabricated", None, 0, None)
        record(config.folder, shard, finished)
        path = results.part_path(config.folder, shard.part_key(shard.ends))
        pq.write_table(rows(config, shard, rng), path)


def rows(config: Config, shard: Shard, rng: np.random.Generator) -> pa.Table:
    """Random results in the shape of a shard's."""
    task_of = config.model.task_of
    trials = [
        (cell, model, metric)
        for cell in shard.cells
        for model in config.model.models
        for metric in METRICS[task_of(model)]
    ]
    count = len(trials)
    known = {
        "experiment": [config.name] * count,
        "dataset": [shard.dataset] * count,
        "concept": [shard.concept] * count,
        "anchor": [cell.anchor for cell, _, _ in trials],
        "delta": [cell.delta for cell, _, _ in trials],
        "seed": [0] * count,
        "kind": [results.WORD] * count,
        "source_model": [shard.model] * count,
        "source_task": [task_of(shard.model)] * count,
        "transfer": ["none" if m == shard.model else "least_squares" for _, m, _ in trials],
        "target_model": [model for _, model, _ in trials],
        "target_task": [task_of(model) for _, model, _ in trials],
        "metric": [metric for _, _, metric in trials],
        "value": rng.random(count),
        "num_images": [200] * count,
        "eval_seconds": [0.1] * count,
        "unsafe": [results.NOT_CHECKED] * count,
        **{name: rng.random(count) for name in results.DIAGNOSTICS},
    }
    unknown = {name: [""] * count for name in results.SCHEMA.names if name not in known}
    return pa.table(known | unknown, schema=results.SCHEMA)


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and MB added at the peak, of a process that does nothing else."""
    reader, writer = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writer.send((seconds, max(0, peak - before) / 1024))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    answer: tuple[float, float] = reader.recv()
    process.join()
    return answer


def printed(action: Callable[[Config], None], config: Config) -> None:
    """Does what a person would see, and shows it to nobody."""
    with contextlib.redirect_stdout(io.StringIO()):
        action(config)


def main(sizes: list[int]) -> None:
    """Prints a table for the docs."""
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"{'words':>10} {'shards':>7}  {'':<22} {'seconds':>8} {'MB added':>8}")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="fabricated-") as folder:
            config = grid(size, Path(folder))
            found = shards(config)
            words = sum(len(shard.ends) for shard in found)
            fabricate(config, found[::2])
            keys = [shard.key for shard in found]
            jobs: dict[str, Callable[[], object]] = {
                "action=plan": lambda config=config: printed(plan, config),
                "job arrays": lambda keys=keys: arrays(keys, 40, 1000, 1001),
                "action=status": lambda config=config: printed(status, config),
                "results.parquet, .csv": lambda config=config: results.write_table(config.folder),
                "reading all of it": lambda config=config: results.read(
                    config.folder / "results.parquet", categorical=True
                ),
            }
            for what, work in jobs.items():
                seconds, memory = measured(work)
                line = f"{words:>10,} {len(found):>7,}  {what:<22} {seconds:>8.2f} {memory:>8.0f}"
                print(line, flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000])

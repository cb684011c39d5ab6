"""The naive loop and ours side by side: seconds of a word-step, FLOPs, memory, and the whole grid.

    python benchmarks/speed.py classification                      # the tiny models
    python benchmarks/speed.py classification --published FOLDER   # the published sizes
    python benchmarks/speed.py generation --published FOLDER --pixels 128 --words 1
    python benchmarks/speed.py --help

Both run in one process on the same loaded model, by turns. They begin at the same word, see the
same images and noise, and must end at the same word. Published sizes have random weights: they are
written to FOLDER where they are not there yet, and stay. A word-step is one word's step on a batch
of 8 images. In the first step FLOPs are counted; it
is timed only where it takes longer than 20 seconds.
"""

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from naive import NaiveWord
from torch.utils.flop_counter import FlopCounterMode

from vwtransfer.config.composition import compose
from vwtransfer.models.devices import torch_device, wait_for
from vwtransfer.models.suite import build, build_part
from vwtransfer.training.chunks import bytes_of_a_word
from vwtransfer.training.word_batches import WordBatch
from vwtransfer.words.cells import Cell

TESTS = Path(__file__).parents[1] / "tests"
TINY = {"classification": "tiny_clip", "detection": "tiny_owlv2", "generation": "tiny_sd"}
PUBLISHED = {  # task -> the model, and the repository that layouts.py knows
    "classification": ("dfn_clip", "DFN2B-CLIP-ViT-L-14"),
    "detection": ("owlv2_base", "owlv2-base-patch16-ensemble"),
    "generation": ("sd21", "stable-diffusion-2-1"),
}
# words, of a gradient as large as an optimiser's first steps: Adam turns rounding into steps
# wherever a gradient is nearly zero, so nearly all and not all entries must agree
TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 2e-1}
GRID_WORDS, GRID_STEPS, PAPERS_HOURS = 1600, 1000, 2400.0  # words of one task; section 5


@dataclass(frozen=True)
class Row:
    """What one loop took.

    Attributes:
        loop: "naive", or ours with so many words in a pack.
        words: trained together.
        seconds: of a word-step: median, least and most of the repetitions.
        flop: of a word-step, as torch counts them.
        rate: FLOP/s.
        share: of the rate that the device reaches in a large matrix product of this precision.
        memory: peak in bytes, of the device or else of the process, model included.
        step_memory: how much of it is held by a step alone.
        ratio: of the naive loop's seconds to these.
        counted_ratio: the same of FLOPs.
        grid_hours: what 1,600 words of 1,000 steps take at this speed.
    """

    loop: str
    words: int
    seconds: tuple[float, float, float]
    flop: float
    rate: float
    share: float
    memory: int
    step_memory: int
    ratio: float
    counted_ratio: float
    grid_hours: float


class Clock:
    """Times a loop's steps, and notes its FLOPs and its peak memory."""

    def __init__(self, name: str, words: int, step: Callable[[int], None], device: torch.device):
        self.name, self.words, self._step, self._device = name, words, step, device
        self.seconds: list[float] = []
        self.flop, self.memory, self.step_memory, self.number = 0.0, 0, 0, 0

    def count(self) -> None:
        """Does the first step, counted, and, if it is short, one more: compiling is not timed."""
        torch.backends.mha.set_fastpath_enabled(False)  # one operation that torch does not count
        began = time.perf_counter()
        with FlopCounterMode(display=False) as counter:
            self._step(0)
        seconds = (time.perf_counter() - began) / self.words
        torch.backends.mha.set_fastpath_enabled(True)
        self.flop, self.number = counter.get_total_flops() / self.words, 1
        if seconds > 20:  # nothing that comes first weighs beside it
            self.seconds.append(seconds)
        else:
            self._step(1)
            self.number = 2

    def turn(self, steps: int) -> None:
        """Does the next steps, timed."""
        _forget_peak(self._device)
        wait_for(self._device)
        before = _held(self._device)
        began = time.perf_counter()
        for _ in range(steps):
            self._step(self.number)
            self.number += 1
        wait_for(self._device)
        self.seconds.append((time.perf_counter() - began) / steps / self.words)
        self.memory = max(self.memory, _peak(self._device))
        self.step_memory = max(self.step_memory, _peak(self._device) - before)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _status("VmRSS")


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(line: str) -> int:
    """Bytes that Linux says this process has."""
    value = Path("/proc/self/status").read_text().split(f"{line}:")[1]
    return int(value.split()[0]) * 1024


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of several."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    best = 0.0
    for _ in range(8):
        wait_for(device)
        began = time.perf_counter()
        a @ a
        wait_for(device)
        best = max(best, 2 * side**3 / (time.perf_counter() - began))
    return best


def loaded(task: str, arguments: argparse.Namespace, device: torch.device) -> tuple[Any, Any]:
    """The model, and a dataset of 8 images a concept."""
    keys = [f"cache.folder={arguments.cache or 'null'}", f"model.{task}.dtype={arguments.dtype}"]
    name = TINY[task]
    if arguments.published:
        name, repository = PUBLISHED[task]
        folder = arguments.published / repository
        if not folder.is_dir():
            writing = [sys.executable, str(TESTS / "published/full.py"), "--write", name]
            path = {"PYTHONPATH": f"{TESTS}", "HF_HUB_OFFLINE": "1"}
            subprocess.run([*writing, arguments.published], check=True, env=path)
        keys += ["model=paper", f"model/{task}={name}", f"model.{name}.checkpoint={folder}"]
    if task == "generation" and arguments.pixels:
        keys += [f"model.generation.image_size={arguments.pixels}"]
    if arguments.compiled:
        keys += [f"model.{task}.compiled=true"]
    if task == "generation" and arguments.channels_last:
        keys += ["model.generation.channels_last=true"]
    config = compose(keys)
    model = build(config, device).models[name]
    node = dict(config.dataset["tiny_shapes"].node)
    count = 2 if task == "classification" else 1  # it needs images of another concept
    node["concepts"] = dict(list(node["concepts"].items())[:count])
    dataset = build_part(node | {"training_images": arguments.images}, "dataset.tiny_shapes")
    return model, dataset


def ours(
    model: Any, features: Any, cells: list[Cell], vectors: int
) -> tuple[WordBatch, Callable[[int], None]]:
    """A pack of words, and a step of them as the trainer does it."""
    settings = {"lr": model.training.learning_rate}
    pack = WordBatch.start(cells, model.text, vectors, settings)
    images_SNB = torch.stack([model.batches(features, cell) for cell in cells], dim=1)
    images_SNB = images_SNB.to(model.device)

    def step(number: int) -> None:
        loss_N = model.loss(pack.vectors_NKD, features, images_SNB[number], cells, number)
        pack.update(loss_N, in_tail=False)

    return pack, step


def compare(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs both loops of one task by turns."""
    device = torch_device(arguments.device)
    model, dataset = loaded(name, arguments, device)
    began = time.perf_counter()
    features = model.features(dataset)
    wait_for(device)
    once = time.perf_counter() - began
    anchor = "cat" if arguments.published else "zepu"
    concept = next(iter(dataset.concepts))
    cells = [
        Cell(dataset.name, model.name, concept, anchor, math.inf, i)
        for i in range(max(arguments.words))
    ]

    def loss_of(count: int) -> Any:
        words = [cells[0]] * count
        pack, _ = ours(model, features, words, arguments.vectors)
        images_NB = model.batches(features, cells[0])[0].expand(count, -1)
        return model.loss(pack.vectors_NKD, features, images_NB, words, 0)

    expected = bytes_of_a_word(loss_of) if len(cells) > 1 else None
    clocks = []
    if arguments.naive:
        images_SB = model.batches(features, cells[0])
        settings = {"lr": model.training.learning_rate}
        word = NaiveWord(model, dataset, cells[0], images_SB, settings)
        same, same_step = ours(model, features, cells[:1], 4)
        clocks.append(Clock("naive", 1, word.step, device))
    for count in arguments.words:
        _, step = ours(model, features, cells[:count], arguments.vectors)
        clocks.append(Clock(f"ours, {count} in a pack", count, step, device))
    for clock in clocks:
        clock.count()
    for _ in range(arguments.repetitions):
        for clock in clocks:
            clock.turn(1 if clock.name == "naive" else arguments.steps)
    difference = None
    if arguments.naive:
        for number in range(clocks[0].number):  # as many as the naive loop did
            same_step(number)
        difference = _difference(same, word)
        assert difference < TOLERANCE[arguments.dtype], (name, difference)
    rate = matmul_rate(device, getattr(torch, arguments.dtype))
    first = clocks[0]
    rows = [_row(clock, first, rate) for clock in clocks]
    return {
        "task": name,
        "models": "published sizes, random weights" if arguments.published else "tiny",
        "pixels": arguments.pixels,
        "dtype": arguments.dtype,
        "compiled": arguments.compiled,
        "channels_last": arguments.channels_last,
        "images": len(dataset.concepts) * arguments.images,
        "vectors": arguments.vectors,
        "features_seconds": once,
        "bytes_of_a_word": expected,
        "matmul_rate": rate,
        "words_differ_by": difference,
        "rows": [asdict(row) for row in rows],
    }


def _difference(pack: WordBatch, naive: NaiveWord) -> float:
    """Of the two loops' words, as a part of the way they went: the root of the mean square."""
    start_KD = pack.centre_ND[0]
    ours_KD, theirs_KD = pack.vectors_NKD[0].detach(), naive.word_KD.detach()
    return float((ours_KD - theirs_KD).norm() / (theirs_KD - start_KD).norm())


def _row(clock: Clock, naive: Clock, rate: float) -> Row:
    median = statistics.median(clock.seconds)
    return Row(
        loop=clock.name,
        words=clock.words,
        seconds=(median, min(clock.seconds), max(clock.seconds)),
        flop=clock.flop,
        rate=clock.flop / median,
        share=clock.flop / median / rate,
        memory=clock.memory,
        step_memory=clock.step_memory,
        ratio=statistics.median(naive.seconds) / median,
        counted_ratio=naive.flop / clock.flop,
        grid_hours=GRID_WORDS * GRID_STEPS * median / 3600,
    )


def show(result: dict[str, Any]) -> None:
    """Prints a table in Markdown."""
    size = f", {result['pixels']} px" if result["pixels"] else ""
    print(f"\n{result['task']}, {result['models']}{size}, {result['dtype']}")
    print(
        f"features of {result['images']} images, once: {result['features_seconds']:.2f} s; ", end=""
    )
    print(f"matrix products: {result['matmul_rate'] / 1e9:,.0f} GFLOP/s", end="")
    if result["bytes_of_a_word"]:
        print(f"; a word takes {result['bytes_of_a_word'] / 1e6:.2f} MB at its peak", end="")
    if result["words_differ_by"] is not None:
        print(f"; the two words differ by {result['words_differ_by']:.0e} of their way", end="")
    print(
        "\n\n| loop | s per word-step (least - most) | ratio | counted | GFLOP | GFLOP/s | share |",
        end="",
    )
    print(
        " peak GB (a step's) | 1,600 words, hours |"
        "\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in result["rows"]:
        median, least, most = row["seconds"]
        print(
            f"| {row['loop']} | {median:.4g} ({least:.4g} - {most:.4g}) | {row['ratio']:.1f} |"
            f" {row['counted_ratio']:.1f} | {row['flop'] / 1e9:,.2f} | {row['rate'] / 1e9:,.0f} |"
            f" {row['share']:.0%} | {row['memory'] / 1e9:.2f} ({row['step_memory'] / 1e9:.2f}) |"
            f" {row['grid_hours']:,.2f} |"
        )
    sys.stdout.flush()


def main() -> None:
    """Measures what was asked, prints it, and writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=list(PUBLISHED))
    parser.add_argument(
        "--published", type=Path, metavar="FOLDER", help="instead of the tiny models"
    )
    parser.add_argument("--pixels", type=int, help="side of a generation; as published: 768")
    parser.add_argument("--words", type=int, nargs="+", default=[1, 40], help="in a pack")
    parser.add_argument("--images", type=int, default=8, help="of a concept")
    parser.add_argument("--vectors", type=int, default=4, help="of a word, in our loop")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of ours in a repetition")
    parser.add_argument("--cache", type=Path, help="keeps features for the next run")
    parser.add_argument("--dtype", default="float32", choices=list(TOLERANCE))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compiled", action="store_true", help="both loops, where the config can")
    parser.add_argument("--channels-last", action="store_true", help="both loops of generation")
    parser.add_argument("--no-naive", dest="naive", action="store_false", help="ours alone")
    parser.add_argument("--json", type=Path, default=Path("speed.json"))
    arguments = parser.parse_args()
    machine = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", "benchmarks/speed.py", *sys.argv[1:]]),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    results = []
    for name in arguments.tasks:
        results.append(compare(name, arguments))
        show(results[-1])
        arguments.json.write_text(json.dumps({**machine, "results": results}, indent=2))


if __name__ == "__main__":
    main()

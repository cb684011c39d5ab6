"""How long a person waits for the first sign of work: `python benchmarks/startup.py`.

Times the help, a config that is refused, and the start of one word's training in each tiny model,
up to the file that is written behind its first step. Each in a process of its own, in a new folder,
on this machine's cores, several times by turns.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("vwtransfer")
WORD = [
    "dataset=tiny_shapes",
    "concept=red_striped_star",
    "anchor=zepu",
    "direction=none",
    "wandb=off",
    "progress=false",
    "trainer.checkpoint_every=1",
]


def until_it_ends(*arguments: str) -> float:
    """Seconds until the program has said what there is to say."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, check=False)
        return time.perf_counter() - began


def until_the_first_step(task: str) -> float:
    """Seconds until a checkpoint lies behind a word's first step."""
    command = [PROGRAM, *WORD, f"task={task}"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        work = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
        while not list(Path(folder).glob("outputs/*/checkpoints/*/chunk-*.safetensors")):
            assert work.poll() is None, f"ended with status {work.returncode} before its first step"
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        work.kill()
        work.wait()
    return seconds


MEASURED: dict[str, Callable[[], float]] = {
    "vwtransfer --help": lambda: until_it_ends("--help"),
    "a concept that is not there": lambda: until_it_ends("concept=red_stripd_star"),
    "a key that is not there": lambda: until_it_ends("trainer.num_vectrs=3"),
    "first step, classification": lambda: until_the_first_step("classification"),
    "first step, detection": lambda: until_the_first_step("detection"),
    "first step, generation": lambda: until_the_first_step("generation"),
}


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    seconds: dict[str, list[float]] = {what: [] for what in MEASURED}
    for _ in range(repetitions):
        for what, measure in MEASURED.items():
            seconds[what].append(measure())
    print("| | seconds: median (least - most) |\n| --- | --- |")
    for what, found in seconds.items():
        print(f"| {what} | {statistics.median(found):.2f} ({min(found):.2f} - {max(found):.2f}) |")


if __name__ == "__main__":
    main()

"""What reporting to wandb costs a job: `python benchmarks/wandb_overhead.py` (Linux, two cores).

Runs the same job without wandb and with it at the same time, each with all of its processes on a
core of its own, as on a cluster that gives a job one core: what wandb's process takes there, the
work does not get. Then again with the cores exchanged, as often as fits. A job of one word and one
step, run the same way, says how much of it is wandb's start and end.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import mean

WAYS = {
    "off": (["wandb=off"], {}),
    "offline": (["wandb.mode=offline"], {}),
    "no server": (
        ["wandb.mode=online"],
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
    ),
}
JOB = [  # 80 words
    "experiment=tiny_section5",
    "dataset=tiny_shapes",
    "concept=red_striped_star",
    "task=[classification,detection]",
]
SHORT = [
    "experiment=tiny_section5",
    "dataset=tiny_shapes",
    "concept=red_striped_star",
    "task=classification",
    "anchor=zepu",
    "delta=0.5",
    "direction=none",
    "model.classification.training.steps=1",
]
ALWAYS = ["threads=1", "device=cpu", "progress=false"]


@dataclass(frozen=True)
class Cost:
    """What a run took, in seconds.

    Attributes:
        wall: from its start to its end.
        processor: of all its processes.
        own: of wandb's processes alone, by their own log.
    """

    wall: float
    processor: float
    own: float


def measured(way: str, job: list[str], core: int) -> Cost:
    """One run, all on one core."""
    overrides, environment = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        command = ["taskset", "-c", str(core), sys.executable, "-m", "vwtransfer"]
        command += [*job, *ALWAYS, *overrides, f"outputs={folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        logs = [path.read_text() for path in Path(folder).glob("*/wandb/recorder.log")]
    own = [
        float(seconds) for log in logs for seconds in re.findall(r"processor time ([\d.]+)", log)
    ]
    return Cost(wall, used.ru_utime + used.ru_stime, sum(own))


def pairs(way: str, job: list[str], cores: list[int], minutes: float) -> list[tuple[Cost, Cost]]:
    """Without and with, side by side, then with the cores exchanged, and again while it fits."""
    deadline = time.monotonic() + 60 * minutes
    found: list[tuple[Cost, Cost]] = []
    longest = 0.0
    while len(found) < 2 or time.monotonic() + 2 * longest < deadline:
        for first, second in (cores, cores[::-1]):
            with ThreadPoolExecutor() as pool:
                without = pool.submit(measured, "off", job, first)
                reported = pool.submit(measured, way, job, second)
                found.append((without.result(), reported.result()))
            longest = max(longest, *(cost.wall for cost in found[-1]))
            print(*found[-1], flush=True)
    return found


def line(kind: str, found: list[tuple[Cost, Cost]], unit: str) -> str:
    """What is added, over pairs of both orders, and its share of the time without wandb."""
    took = mean(off.wall for off, _ in found)
    added = [getattr(on, unit) - getattr(off, unit) for off, on in found]
    return (
        f"{kind:10} {unit:9} {mean(added):+.2f} s ({min(added):+.2f} to {max(added):+.2f}), "
        f"{100 * mean(added) / took:+.2f} % of {took:.2f} s"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=[way for way in WAYS if way != "off"], default="offline")
    parser.add_argument("--minutes", type=float, default=9, help="a quarter of them for the start")
    parser.add_argument("--json", type=Path, help="where the numbers go, too")
    parser.add_argument("job", nargs="*", default=JOB, help="overrides; its start is subtracted")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    began = time.monotonic()
    short = pairs(arguments.way, SHORT, cores, arguments.minutes / 4)
    left = arguments.minutes - (time.monotonic() - began) / 60
    long = pairs(arguments.way, arguments.job, cores, left)
    for unit in ("wall", "processor", "own"):
        print(line("start", short, unit))
        print(line("job", long, unit))
        start, whole = (
            mean(getattr(on, unit) - getattr(off, unit) for off, on in found)
            for found in (short, long)
        )
        share = (whole - start) / mean(off.wall for off, _ in long)
        print(f"{'less start':10} {unit:9} {whole - start:+.2f} s, {100 * share:+.2f} % of the job")
    if arguments.json:
        record = {
            "date": str(date.today()),
            "way": arguments.way,
            "job": arguments.job,
            **{
                name: [[asdict(cost) for cost in pair] for pair in found]
                for name, found in (("start", short), ("long", long))
            },
        }
        arguments.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""What reporting to wandb costs a job: `python benchmarks/wandb_overhead.py`.

Runs the same study with wandb off, offline, and online with a server that does not answer, one
after the other and the same again, each in a folder of its own, and prints the wall time of each
and what each way of reporting adds to the mean of `off`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import mean

WAYS = {
    "off": ("wandb=off", {}),
    "offline": ("wandb.mode=offline", {}),
    "no server": (
        "wandb.mode=online",
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"},
    ),
}


def seconds(way: str, study: list[str]) -> float:
    """Wall time of one run."""
    override, environment = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vwtransfer", *study, override, f"outputs={folder}"]
        began = time.monotonic()
        subprocess.run(
            command, env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL
        )
        return time.monotonic() - began


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path, help="where the numbers go, too")
    parser.add_argument("study", nargs="*", default=["experiment=demo", "progress=false"])
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {way: [] for way in arguments.ways}
    for repeat in range(arguments.repeats):
        for way in arguments.ways:
            times[way].append(seconds(way, arguments.study))
            print(f"{repeat + 1}/{arguments.repeats} {way}: {times[way][-1]:.1f} s", flush=True)
    for way, each in times.items():
        added = 100 * (mean(each) / mean(times[arguments.ways[0]]) - 1)
        print(f"{way:10} {mean(each):7.1f} s ({min(each):.1f} to {max(each):.1f}), {added:+.1f} %")
    if arguments.json:
        record = {"date": str(date.today()), "study": arguments.study, "seconds": times}
        arguments.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

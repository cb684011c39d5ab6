"""Builds the models of the tiny world and measures them: python -m vwtransfer.tinyworld.

A build that was stopped goes on where it was. Its bits depend on the seed, the machine and the
threads; to use two cores, run "--stages judge classification detection" beside
"--stages autoencoder text generation", and "--stages quality" when both are done.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from vwtransfer.errors import UserError
from vwtransfer.files import write_json, write_text
from vwtransfer.tinyworld_build.build import run
from vwtransfer.tinyworld_build.card import model_card
from vwtransfer.tinyworld_build.measures import MEASURED, measure
from vwtransfer.tinyworld_build.recipes import FULL, QUICK, STAGES
from vwtransfer.tinyworld_build.stages import Build

COLUMNS = (
    TextColumn("{task.description:>15}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def main() -> None:
    """Parses the command line, builds and measures."""
    parser = argparse.ArgumentParser(
        prog="python -m vwtransfer.tinyworld",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    weights = Path(__file__).parents[1] / "tinyworld" / "weights"
    work = Path("outputs/tinyworld")
    parser.add_argument("--out", type=Path, default=weights, help="folder of the weights")
    parser.add_argument("--work", type=Path, default=work, help="checkpoints, curves, records")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few steps each, as a trial")
    every = (*STAGES, "quality")
    parser.add_argument("--stages", nargs="+", choices=every, default=every, metavar="STAGE")
    parser.add_argument(
        "--measured",
        nargs="+",
        choices=MEASURED,
        metavar="MODEL",
        help="whose quality is measured, of all that are there if not said; what quality.json says "
        "of the others stays",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    recipes = QUICK if arguments.quick else FULL
    try:
        with Progress(*COLUMNS) as progress:
            build = Build(arguments.out, arguments.work, arguments.seed, recipes, progress)
            run(build, [stage for stage in arguments.stages if stage != "quality"])
            if "quality" in arguments.stages:
                progress.console.print("measuring the quality takes some minutes")
                there = [name for name in MEASURED if (build.out / name).is_dir()]
                _measure(build, arguments.measured or there)
    except UserError as error:
        sys.exit(str(error))


def _measure(build: Build, models: Iterable[str]) -> None:
    """Writes quality.json and MODEL_CARD.md: what the models reach and what they took to build."""
    path = build.out / "quality.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured = before.get("models", {}) | measure(build.out, models)
    records = {record["stage"]: record for record in [*before.get("stages", ()), *build.records()]}
    quality = {
        "models": {name: measured[name] for name in MEASURED if name in measured},
        "stages": [records[stage] for stage in STAGES if stage in records],
        "machine": f"{platform.machine()}, torch {torch.__version__}",
    }
    write_json(path, quality)
    write_text(build.out / "MODEL_CARD.md", model_card(quality))


if __name__ == "__main__":
    main()

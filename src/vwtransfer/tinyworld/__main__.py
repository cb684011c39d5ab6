"""Builds the tiny world's models: python -m vwtransfer.tinyworld."""

import argparse
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

from vwtransfer.tinyworld.build import Build, run
from vwtransfer.tinyworld.recipes import FULL, QUICK, STAGES


def main() -> None:
    """Parses the command line and builds."""
    parser = argparse.ArgumentParser(prog="python -m vwtransfer.tinyworld", description=__doc__)
    weights = Path(__file__).parent / "weights"
    parser.add_argument("--out", type=Path, default=weights, help="the weights folder")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/tinyworld"), help="checkpoints and curves"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--threads", type=int, default=1, help="part of what fixes the bits")
    parser.add_argument("--quick", action="store_true", help="a few steps each, to test the build")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    columns = (
        TextColumn("{task.description:>15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        recipes = QUICK if args.quick else FULL
        run(Build(args.out, args.work, args.seed, recipes, progress), args.stages)


if __name__ == "__main__":
    main()

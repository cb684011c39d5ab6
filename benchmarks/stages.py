"""Where a study's time went, by the files it left: `python benchmarks/stages.py outputs/demo`.

What lies between two files, in the order they were written, is taken to be the work on the later
one. So the study must have been run from its beginning to its end at once.
"""

import json
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path


def stage(path: Path) -> str:
    """What was being done when a file of a study was written."""
    match path.parts:
        case ("words", _, model, *_):
            return f"words of {model}"
        case ("checkpoints", *_):
            return "checkpoints"
        case ("images", *_):
            return "images drawn"
        case ("results", name) if "-on-" in name:
            return f"measured in {name.split('-on-')[1].split('-')[0]}"
        case ("mapped", *_):
            return "words mapped"
        case ("transfer", *_):
            return "transfer fitted"
        case ("wandb", *_):
            return "wandb"
        case _:
            return "tables, figures and report"


def main() -> None:
    """Prints seconds and shares in the order in which stages began."""
    folder = Path(sys.argv[1])
    began = datetime.fromisoformat(json.loads((folder / "provenance.json").read_text())["date"])
    files = [path for path in folder.rglob("*") if path.is_file()]
    last, seconds = began.timestamp(), Counter[str]()
    for when, path in sorted((path.stat().st_mtime, path) for path in files):
        if when > last:
            seconds[stage(path.relative_to(folder))] += when - last
            last = when
    total = sum(seconds.values())
    for name, found in seconds.items():
        print(f"{name:28} {found:7.1f} s {found / total:6.1%}")
    print(f"{'all, from the first file on':28} {total:7.1f} s")


if __name__ == "__main__":
    main()

"""Transfer methods ranked by the worst of several independent builds.

    python benchmarks/builds.py outputs/{second,third}_benchmark_description

A table in Markdown from the folders of benchmarks, one of each build: a method's retention in each
build, of which the worst makes its place, in the worst direction of all, and over builds, whose
interval draws builds, then concepts. docs/transfer.md
"""

import sys
from pathlib import Path

from vwtransfer import results
from vwtransfer.results.statistics import over_builds, retention


def main() -> None:
    """Prints a row for each method that is in all builds, then for the concepts' names."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    frames = [results.read(folder) for folder in folders]
    methods = set.intersection(*(set(frame["transfer"]) for frame in frames)) - {"none"}
    kept = {name: [retention(frame, name) for frame in frames] for name in (*methods, "name")}
    worst = {name: min(each.overall.value for each in kept[name]) for name in kept}
    builds = [folder.name.split("_")[0] for folder in folders]
    print(f"| | {' | '.join(builds)} | over builds | capped | worst direction |")
    print("| --- " * (len(builds) + 4) + "|")
    for name in sorted(kept, key=lambda name: (name == "name", -worst[name])):
        each = kept[name]
        lines = [(*pair, one) for found in each for pair, one in found.directions.items()]
        source, target, least = min(lines, key=lambda line: line[2].value)
        cells = [
            *(str(found.overall) for found in each),
            str(over_builds([found.overall for found in each])),
            str(over_builds([found.capped for found in each])),
            f"{least} ({source} to {target})",
        ]
        title = "the name, typed" if name == "name" else f"`{name}`"
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

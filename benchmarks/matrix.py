"""What `experiment=tiny_matrix` says by groups of directions: the table of docs/transfer.md.

vwtransfer -m experiment=tiny_matrix transfer=least_squares,readout_matching
python benchmarks/matrix.py outputs/tiny_matrix
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from vwtransfer import results
from vwtransfer.results.statistics import Estimate, mean_of, retention

METHODS = ("least_squares", "readout_matching")
TASK = {
    **dict.fromkeys(("tiny_sd", "tiny_sd_b", "tiny_sdxl", "tiny_flux"), "generation"),
    **dict.fromkeys(("tiny_owlv2", "tiny_grounding_dino"), "detection"),
    **dict.fromkeys(("tiny_clip", "tiny_siglip"), "classification"),
}
OTHER_KINDS = {"tiny_flux", "tiny_grounding_dino", "tiny_siglip"}  # with T5, BERT, SigLIP's
Chosen = Callable[[str, str], bool]
Directions = Mapping[tuple[str, str], Estimate]


def between(source: str, target: str) -> Chosen:
    """Directions from a task to another, or the same."""
    return lambda a, b: (TASK[a], TASK[b]) == (source, target)


def of_clips(source: str, target: str) -> bool:
    """Whether both read text by CLIP's encoders alone."""
    return not {source, target} & OTHER_KINDS


GROUPS: Mapping[str, Chosen] = {
    "all": lambda a, b: True,
    "tiny_sd and tiny_sd_b": lambda a, b: {a, b} == {"tiny_sd", "tiny_sd_b"},
    "generation to generation": between("generation", "generation"),
    "generation to classification": between("generation", "classification"),
    "generation to detection": between("generation", "detection"),
    "classification to generation": between("classification", "generation"),
    "from detection": lambda a, b: TASK[a] == "detection",
    "from tiny_owlv2": lambda a, b: a == "tiny_owlv2",
    "from tiny_grounding_dino": lambda a, b: a == "tiny_grounding_dino",
    "CLIPs": of_clips,
    "other kinds": lambda a, b: not of_clips(a, b),
    "CLIPs, with tiny_sd_b": lambda a, b: of_clips(a, b) and "tiny_sd_b" in (a, b),
    "CLIPs, without it": lambda a, b: of_clips(a, b) and "tiny_sd_b" not in (a, b),
}
WITHIN: Mapping[str, Chosen] = {  # where CLIPs are compared with other kinds
    "all": GROUPS["all"],
    "not from detection": lambda a, b: TASK[a] != "detection",
    "without detection": lambda a, b: "detection" not in (TASK[a], TASK[b]),
    "generation to generation": between("generation", "generation"),
}


def main(folder: Path) -> None:
    """Prints the mean retention of each group, and how much less is kept between other kinds."""
    frame = results.read(folder)
    for method in METHODS:
        found = retention(frame, method)

        def mean(*tests: Chosen, of: Directions = found.directions) -> Estimate:
            return mean_of(each for pair, each in of.items() if all(test(*pair) for test in tests))

        print(f"{method}: capped {found.capped}")
        for name, test in GROUPS.items():
            count = sum(test(*pair) for pair in found.directions)
            print(f"  {name} ({count}): {mean(test)}")
        for name, test in WITHIN.items():
            less = mean(test, of_clips) - mean(test, GROUPS["other kinds"])
            print(f"  CLIPs more than other kinds, {name}: {less}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

"""Where the pictures that models make of words lie in a study's folder.

    images/      generations        detections/  boxes found        cut/  see `illustrations`
    <kind>/<dataset>/<concept>/<trained_for>-<transfer>/<anchor>-<delta>-<seed>-<number>.png

`number` counts the images of one word; in cut/ it is how many blocks the text encoder was left.
"""

from pathlib import Path

import pandas as pd

from vwtransfer.words.cells import delta_text

COLUMNS = ["dataset", "concept", "trained_for", "transfer", "anchor", "delta", "seed", "number"]


def image_path(
    folder: Path,
    dataset: str,
    concept: str,
    trained_for: str,
    transfer: str,
    anchor: str,
    delta: float,
    seed: int,
    number: int,
) -> Path:
    """The file of one picture below `folder`, such as a study's images/."""
    place = folder / dataset / concept / f"{trained_for}-{transfer}"
    return place / f"{anchor}-{delta_text(delta)}-{seed}-{number}.png"


def kept_images(folder: Path) -> pd.DataFrame:
    """The pictures below `folder`: COLUMNS and `path`, a row each; none where there is no folder.

    Files of another layout are passed over.
    """
    rows = []
    for path in sorted(folder.glob("*/*/*/*.png")):
        dataset, concept, made, name = path.relative_to(folder).with_suffix("").parts
        trained_for, _, transfer = made.partition("-")
        try:
            anchor, delta, seed, number = name.rsplit("-", 3)
            numbers = float(delta), int(seed), int(number)
        except ValueError:
            continue
        rows.append((dataset, concept, trained_for, transfer, anchor, *numbers, path))
    return pd.DataFrame(rows, columns=[*COLUMNS, "path"])

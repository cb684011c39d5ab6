"""Where the pictures that models make of words lie in a study's folder.

    images/      generations        detections/  boxes found        cut/  see `analysis`
    prompted/    generations in the prompts of clip_t
    <what>/<dataset>/<concept>/<kind>~<source_model>~<transfer>~<target_model>/
        <anchor>-<delta>-<seed>-<number>.png

`number` counts the images of one word; in cut/ it is how many blocks the text encoder was left, in
prompted/ the place of the prompt in `model.fidelity_prompts`.
"""

from pathlib import Path

import pandas as pd

from vwtransfer.evaluation.specs import EvalSpec
from vwtransfer.words.cells import delta_text

ORIGIN = ["kind", "source_model", "transfer", "target_model"]
COLUMNS = ["dataset", "concept", *ORIGIN, "anchor", "delta", "seed", "number"]


def image_path(folder: Path, spec: EvalSpec, number: int) -> Path:
    """The file of one picture below `folder`, such as a study's images/."""
    origin = "~".join((spec.kind, spec.source_model, spec.transfer, spec.target_model))
    name = f"{spec.anchor}-{delta_text(spec.delta)}-{spec.seed}-{number}.png"
    return folder / spec.dataset / spec.concept / origin / name


def saved_images(folder: Path) -> pd.DataFrame:
    """The pictures below `folder`: COLUMNS and `path`, a row each; none where there is no folder.

    Files of another layout are passed over.
    """
    rows = []
    for path in sorted(folder.glob("*/*/*/*.png")):
        dataset, concept, made, name = path.relative_to(folder).with_suffix("").parts
        origin = made.split("~")  # no name of a config holds one
        if len(origin) != len(ORIGIN) or not path.is_file():
            continue
        try:
            anchor, delta, seed, number = name.rsplit("-", 3)
            numbers = float(delta), int(seed), int(number)
        except ValueError:
            continue
        if not numbers[0] > 0:
            continue
        rows.append((dataset, concept, *origin, anchor, *numbers, path))
    return pd.DataFrame(rows, columns=[*COLUMNS, "path"])

"""Whether generations of a subject have its hue: read off the pixels, without a judge.

    vwtransfer experiment=subjects_benchmark evaluation.save_images=true
    python benchmarks/subjects.py outputs/subjects_benchmark

Of the subjects whose hue lies between two colours: how far along the way from one to the other the
median of a generation's coloured pixels is, beside how far the subject is. docs/transfer.md
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from vwtransfer.config.composition import config_folder
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.tinyworld.lexicon import parse
from vwtransfer.tinyworld.world import COLOURS

SATURATED = 0.5  # least range of a pixel's channels, of 1, that is no background's


def hues(dataset: str) -> pd.DataFrame:
    """The subjects of a hue: from which colour to which, and the share of the way.

    The way is that of the subject's name, so that all of a group go one way.
    """
    path = config_folder() / "dataset" / f"{dataset}.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = []
    for concept, subject in settings["subjects"].items():
        near, far = parse(settings["concepts"][concept]), parse(subject["towards"])
        if near.colour != far.colour:
            one, other = sorted((near.colour, far.colour))
            share = subject["share"] if near.colour == one else 1 - subject["share"]
            rows.append((dataset, concept, one, other, share))
    return pd.DataFrame(rows, columns=["dataset", "concept", "one", "other", "share"])


def read_off(path: Path, one: str, other: str) -> float:
    """How far the colour of a generation is on the way; nan where it shows none."""
    pixels_MC = np.asarray(Image.open(path), dtype=float).reshape(-1, 3) / 255
    coloured_MC = pixels_MC[np.ptp(pixels_MC, axis=1) >= SATURATED]
    if len(coloured_MC) < 10:
        return np.nan
    start_C, end_C = np.array(COLOURS[one]), np.array(COLOURS[other])
    way_C = end_C - start_C
    return float((np.median(coloured_MC, axis=0) - start_C) @ way_C / (way_C @ way_C))


def main() -> None:
    """Prints a line for each way of making a word: error of the share, and its correlation."""
    folder = Path(sys.argv[1])
    subjects = pd.concat([hues(name) for name in ("tiny_subjects", "tiny_subjects_b")])
    frame = saved_images(folder / "images").merge(subjects, on=["dataset", "concept"])
    each = zip(frame["path"], frame["one"], frame["other"], strict=True)
    frame["found"] = [read_off(*of) for of in each]
    frame["error"] = (frame["found"].clip(0, 1) - frame["share"]).abs()
    for made, rows in frame.groupby(["kind", "source_model", "transfer"]):
        groups = rows.dropna(subset=["found"]).groupby("dataset")
        ranks = [of[["share", "found"]].corr("spearman").iloc[0, 1] for _, of in groups]
        print(
            f"{' '.join(made)}: {len(rows)} images, mean error {rows['error'].mean():.2f}, "
            f"rank correlation {np.mean(ranks):.2f}, none seen in {rows['found'].isna().mean():.2f}"
        )


if __name__ == "__main__":
    main()

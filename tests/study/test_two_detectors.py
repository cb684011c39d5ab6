"""A detector that sees regions before any word, and one in which the word chooses them."""

from pathlib import Path

import pandas as pd
import pytest

from composing import compose
from vwtransfer.actions.run import run as run_study

MODELS = ("tiny_owlv2", "tiny_grounding_dino")
SMALL = [
    "model=tiny",
    "~model/generation",
    "~model/classification",
    f"model/detection=[{','.join(MODELS)}]",
    "task=detection",
    "direction=detection_to_detection",
    "dataset=tiny_shapes",
    "dataset.tiny_shapes.held_out_images=1",
    "concept=[red_striped_star,blue_dotted_heart]",
    "anchor=paired",
    "model.detection.training.steps=3",
    "device=cpu",
    "threads=1",
    "progress=false",
    "report=false",
]
RECOMMENDED = [
    "transfer=readout_matching",
    "transfer.calibration_prompts=60",
    "transfer.neighbours=5",
    "transfer.steps=3",
]


@pytest.mark.parametrize("transfer", [["transfer=least_squares"], RECOMMENDED])
def test_words_are_trained_in_both_and_transferred_to_the_other(
    transfer: list[str], tmp_path: Path
) -> None:
    config = compose([*SMALL, *transfer, f"outputs={tmp_path}"])
    run_study(config)
    frame = pd.read_parquet(config.folder / "results.parquet")
    words = frame[(frame.kind == "word") & (frame.metric == "mean_average_precision")]
    found = words.groupby(["source_model", "target_model"]).value.agg(["size", "min", "max"])
    assert set(found.index) == {(source, target) for source in MODELS for target in MODELS}
    assert (found["size"] == 2).all()
    assert found["min"].ge(0).all() and found["max"].le(1).all()

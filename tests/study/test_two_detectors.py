"""A detector that sees regions before any word, and one in which the word chooses them."""

from pathlib import Path

import pandas as pd

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
METHODS = ("readout_matching", "least_squares")
TRANSFER = [
    f"transfer=[{','.join(METHODS)}]",
    "transfer.calibration_prompts=60",
    "transfer.neighbours=5",
    "transfer.steps=3",
]


def test_words_are_trained_in_both_and_transferred_to_the_other_by_each_method(
    tmp_path: Path,
) -> None:
    config = compose([*SMALL, *TRANSFER, f"outputs={tmp_path}"])
    run_study(config)
    frame = pd.read_parquet(config.folder / "results.parquet")
    words = frame[(frame.kind == "word") & (frame.metric == "mean_average_precision")]
    found = words.groupby(["source_model", "transfer", "target_model"]).value.agg(
        ["size", "min", "max"]
    )
    one, other = MODELS
    moved = {(a, how, b) for a, b in ((one, other), (other, one)) for how in METHODS}
    assert set(found.index) == {(name, "none", name) for name in MODELS} | moved
    assert (found["size"] == 2).all()
    assert found["min"].ge(0).all() and found["max"].le(1).all()
    assert (words[words["transfer"] != "none"].support != "").all()
    assert (tmp_path / "study" / "first_word.png").is_file()

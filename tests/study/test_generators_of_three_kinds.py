"""A study of three generators: two vocabularies, three widths, one model with two text encoders."""

from itertools import permutations
from pathlib import Path

import pytest
import torch

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.main import dispatch
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

WIDTHS = {"tiny_sd": 96, "tiny_sd_b": 128, "tiny_sdxl": 160}
MODELS = ["model=tiny", f"model/generation=[{','.join(WIDTHS)}]", "task=generation"]
QUICK = [
    *("direction=generation_to_generation", "concept=red_striped_star", "anchor=zepu"),
    *("model.generation.training.steps=2", "model.generation.denoising_steps=2"),
    *("evaluation.baselines=[]", "progress=false", "report=false"),
]
MATCHING = ["transfer=readout_matching", "transfer.steps=2", "transfer.calibration_prompts=60"]


@pytest.mark.parametrize("method", [["transfer=least_squares"], MATCHING])
def test_words_go_from_each_generator_to_each_other(method: list[str], tmp_path: Path) -> None:
    config = compose([*MODELS, *QUICK, *method, f"outputs={tmp_path}", "name=three"])
    dispatch(config)
    store = WordStore(config.folder / "words")
    for name, width in WIDTHS.items():
        cell = Cell("tiny_shapes", name, "red_striped_star", "zepu", float("inf"), 0)
        assert store.load(cell).vectors_KD.shape == (4, width)
    frame = results.read(config.folder)
    words = frame[(frame["kind"] == "word") & (frame["metric"] == "generation_accuracy")]
    pairs = {*words[["source_model", "target_model"]].itertuples(index=False, name=None)}
    assert pairs == {*permutations(WIDTHS, 2), *((name, name) for name in WIDTHS)}
    assert words["value"].between(0, 1).all()


def test_a_map_to_the_second_vocabulary_goes_by_the_words_that_both_read_whole() -> None:
    models = build(compose(MODELS), torch.device("cpu")).models
    first, second, both = (models[name].text for name in WIDTHS)
    assert len(support_of(first, both)) == 320
    shared = support_of(first, second)
    assert len(shared) == 214 and all(shared.whole)
    assert first.is_single_token("bada") != second.is_single_token("bada")

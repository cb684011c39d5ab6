"""A study of four generators: three vocabularies, CLIPs and a T5, one or two text encoders."""

from itertools import product
from pathlib import Path

import torch

from composing import compose
from vwtransfer import results
from vwtransfer.main import dispatch
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.transfer.prompts import states
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import WordStore

WIDTHS = {"tiny_sd": 96, "tiny_sd_b": 128, "tiny_sdxl": 160, "tiny_flux": 64 + 96}
MODELS = ["model=tiny", f"model/generation=[{','.join(WIDTHS)}]", "task=generation"]
QUICK = [
    *("direction=generation_to_generation", "concept=red_striped_star", "anchor=zepu"),
    *("model.generation.training.steps=2", "model.generation.denoising_steps=2"),
    *("evaluation.baselines=[]", "progress=false", "report=false"),
]
METHODS = ("readout_matching", "least_squares")
TRANSFER = [
    f"transfer=[{','.join(METHODS)}]",
    *("transfer.steps=2", "transfer.calibration_prompts=60"),
]


def test_words_go_from_each_generator_to_each_other_by_each_method(tmp_path: Path) -> None:
    config = compose([*MODELS, *QUICK, *TRANSFER, f"outputs={tmp_path}", "name=four"])
    dispatch(config)
    store = WordStore(config.folder / "words")
    for name, width in WIDTHS.items():
        cell = Cell("tiny_shapes", name, "red_striped_star", "zepu", float("inf"), 0)
        assert store.load(cell).vectors_KD.shape == (4, width)
    frame = results.read(config.folder)
    words = frame[(frame["kind"] == "word") & (frame["metric"] == "generation_accuracy")]
    for method in METHODS:
        mine = words[words["transfer"].isin(["none", method])]
        pairs = [*mine[["source_model", "target_model"]].itertuples(index=False, name=None)]
        assert sorted(pairs) == sorted(product(WIDTHS, repeat=2))
    assert words["value"].between(0, 1).all()


def test_a_map_to_the_second_vocabulary_goes_by_the_words_that_both_read_whole() -> None:
    models = build(compose(MODELS), torch.device("cpu")).models
    first, second, both, _ = (models[name].text for name in WIDTHS)
    assert len(support_of(first, both)) == 320
    shared = support_of(first, second)
    assert len(shared) == 214 and all(shared.whole)
    assert first.is_single_token("bada") != second.is_single_token("bada")


def test_what_is_read_is_clips_pooled_feature_beside_t5s_states() -> None:
    models = build(compose(MODELS), torch.device("cpu")).models
    first, second = models["tiny_sd"].text, models["tiny_flux"].text
    shared = support_of(first, second)
    assert len(shared) == 320 - 106  # T5 splits a third of the words that CLIP has whole
    assert not shared.of_tokens
    word = second.anchor_rows(["red"])[None]
    with torch.no_grad():
        read_1PF = states(second, "a photo of {}", word, ("end", "words"))
    assert read_1PF.shape == (1, 2, 64 + 96)
    torch.testing.assert_close(read_1PF[0, 0, :64], read_1PF[0, 1, :64], rtol=0, atol=0)
    assert (read_1PF[0, 0, 64:] - read_1PF[0, 1, 64:]).abs().max() > 0.1

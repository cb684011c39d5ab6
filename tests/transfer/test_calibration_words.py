"""What training leaves in every word: learned from words whose names are known, and taken away."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from composing import compose
from tiny_text import space
from vwtransfer.errors import UserError
from vwtransfer.models.suite import build
from vwtransfer.models.support import support_of
from vwtransfer.progress import Stages
from vwtransfer.study import Study, data_loading
from vwtransfer.tinyworld.world import COMBINATIONS
from vwtransfer.transfer.calibration_words import TrainingNoise, common_offset, training_noise
from vwtransfer.transfer.kept_readings import KeptReadings
from vwtransfer.transfer.output_matching import OutputMatching
from vwtransfer.transfer.prompts import END, Reading
from vwtransfer.words.cells import Cell
from vwtransfer.words.store import Word, WordStore

TEMPLATE = "a photo of {}"
DETECTION = space("detection")
THINGS = COMBINATIONS[::9]


def write(folder: Path, vectors: dict[str, Tensor], table: str = DETECTION.identity) -> Path:
    """A study's folder with a word for each name."""
    store = WordStore(folder / "words")
    for name, vectors_KD in vectors.items():
        cell = Cell("tiny", DETECTION.model, name.replace(" ", "_"), "zepu", float("inf"), 0)
        store.save(Word(cell, vectors_KD, "detection", table, "made", 0.0, 0.0))
    return folder


def names_as_words() -> dict[str, Tensor]:
    """Words that are the vectors of their concepts' names, and so are read like them."""
    descriptions = [thing.description for thing in THINGS]
    return {each: DETECTION.anchor_rows(each.split()) for each in descriptions}


def names_pushed_alike() -> dict[str, Tensor]:
    """The same, with one vector added to all vectors of all words, as long as a token."""
    push_D = torch.randn(DETECTION.width, generator=torch.Generator().manual_seed(1))
    push_D = push_D / push_D.norm() * DETECTION.anchor_rows(["moon"])[0].norm()
    return {name: vectors_KD + push_D for name, vectors_KD in names_as_words().items()}


@pytest.fixture(scope="module")
def here() -> Reading:
    phrases = [(thing.shape, thing.colour) for thing in COMBINATIONS]
    return KeptReadings().bank(DETECTION, [TEMPLATE], phrases, END).reading


def test_nothing_is_left_in_words_that_are_their_names(tmp_path: Path, here: Reading) -> None:
    noise = training_noise(write(tmp_path, names_as_words()), here, [])
    assert noise.words == noise.concepts == len(THINGS)
    torch.testing.assert_close(noise.scale_R, torch.ones(1), atol=1e-3, rtol=0)
    assert noise.offset_RF.abs().max() < 1e-4
    assert noise.covariance_RFF.abs().max() < 1e-6


def test_what_all_words_have_in_common_is_found(tmp_path: Path, here: Reading) -> None:
    pushed = names_pushed_alike()
    noise = training_noise(write(tmp_path, pushed), here, [])
    name_NF = here(torch.stack(list(names_as_words().values())))[:, 0]
    word_NF = here(torch.stack(list(pushed.values())))[:, 0]
    before = torch.cosine_similarity(word_NF, name_NF).mean()
    after = torch.cosine_similarity(word_NF - noise.offset_RF[0], name_NF).mean()
    assert 1 - after < 0.7 * (1 - before)
    assert noise.offset_RF.norm() > 0.1


def test_the_offset_without_names_is_the_mean_of_the_words_that_are_not_tested(
    tmp_path: Path, here: Reading
) -> None:
    pushed = names_pushed_alike()
    tested = THINGS[0].description
    offset_RF, about = common_offset(write(tmp_path, pushed), here, [tested])
    assert about["offset_words"] == len(pushed) - 1
    others = [vectors_KD for name, vectors_KD in pushed.items() if name != tested]
    torch.testing.assert_close(offset_RF, here(torch.stack(others)).mean(dim=0))


def test_a_study_goes_on_with_the_words_that_it_began_with(tmp_path: Path) -> None:
    config = compose(["model=tiny", "dataset=tiny_shapes", f"outputs={tmp_path}"])
    suite, bars = build(config, torch.device("cpu")), Stages(None, Console(quiet=True))
    datasets, store = data_loading.opened(config), WordStore(config.folder / "words")
    study = Study(config, suite, datasets, [], store, bars, lambda: False)
    space, words = suite.models["tiny_owlv2"].text, WordStore(tmp_path / "others" / "words")
    rows_ND = space.anchor_rows([thing.shape for thing in THINGS])

    def save(anchor: str) -> None:
        for thing, row_D in zip(THINGS, rows_ND, strict=True):
            cell = Cell("tiny", "tiny_owlv2", thing.id, anchor, float("inf"), 0)
            words.save(Word(cell, row_D[None], "detection", space.identity, "made", 0.0, 0.0))

    method = OutputMatching("mine", calibration_prompts=50, steps=1)
    method.offset_words = str(tmp_path / "others")

    def fit() -> None:
        study.fit(method, datasets["tiny_shapes"], "tiny_owlv2", "tiny_clip")

    save("zepu")
    fit()
    fit()
    save("muli")
    with pytest.raises(UserError, match="mine learned from other words than lie in its folder now"):
        fit()


def test_the_linear_map_is_least_squares_without_noise_and_shrinks_with_it() -> None:
    stream = torch.Generator().manual_seed(0)
    y_BRF = torch.randn(200, 1, 4, generator=stream)
    map_FG = torch.randn(4, 3, generator=stream)
    noiseless = TrainingNoise(torch.ones(1), torch.zeros(1, 4), torch.zeros(1, 4, 4), 9, 9)
    found = noiseless.linear(y_BRF, y_BRF @ map_FG)(y_BRF)
    torch.testing.assert_close(found, y_BRF @ map_FG, atol=1e-4, rtol=1e-4)
    noisy_FF = torch.diag(torch.tensor([1e6, 0.0, 0.0, 0.0]))[None]
    noisy = TrainingNoise(torch.ones(1), torch.zeros(1, 4), noisy_FF, 9, 9)
    ahead = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert noisy.linear(y_BRF, y_BRF @ map_FG)(ahead).abs().max() < 1e-4


def test_it_says_what_is_wrong_with_a_folder(tmp_path: Path, here: Reading) -> None:
    with pytest.raises(UserError, match="holds words of detection for 0 concepts"):
        training_noise(tmp_path, here, [])
    folder = write(tmp_path / "some", names_as_words())
    descriptions = [thing.description for thing in THINGS[3:]]
    with pytest.raises(UserError, match="for 3 concepts other than those"):
        training_noise(folder, here, descriptions)
    with pytest.raises(UserError, match="beside another embedding table"):
        training_noise(write(tmp_path / "other", names_as_words(), "other"), here, [])


def test_a_word_is_carried_without_what_training_left_in_it(tmp_path: Path) -> None:
    pushed = names_pushed_alike()
    tested = THINGS[0].description
    target = space("classification")
    support = support_of(DETECTION, target)
    agreement = {}
    for folder in (None, str(write(tmp_path, pushed))):
        method = OutputMatching(
            "m", calibration_prompts=400, steps=40, learning_rate=0.03, calibration_words=folder
        )
        fitted = method.fit(DETECTION, target, support, [tested])
        mapped_1KD = fitted(pushed[tested][None])
        got = target.encode_words(TEMPLATE, mapped_1KD).pooled_NE
        named = target.encode_text([TEMPLATE.format(tested)]).pooled_NE
        agreement[folder is None] = float(torch.cosine_similarity(got, named))
    assert fitted.report["concepts"] == len(THINGS) - 1
    assert agreement[False] > agreement[True]

"""A study of two published generators, 768 and 1024 wide, beside a detector and a classifier."""

import json
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from published_models import REPOSITORIES, write_support
from rich.console import Console

from vwtransfer import results
from vwtransfer.config.composition import compose
from vwtransfer.evaluation import diagnostics
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.models.suite import Suite, build
from vwtransfer.models.support import support_of
from vwtransfer.progress import stages
from vwtransfer.results.summary import write_summary
from vwtransfer.study import Study, data_loading, measure_words, train_words
from vwtransfer.training.word_batches import radii
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.words.cells import Cell, cells
from vwtransfer.words.store import WordStore

pytestmark = pytest.mark.published

WIDTHS = {"sd15": 768, "sd21": 1024, "owlv2_base": 512, "dfn_clip": 768}
TASKS = {name: REPOSITORIES[name][0] for name in WIDTHS}
GENERATORS = ("sd15", "sd21")
CONCEPTS = ("red_striped_star", "blue_dotted_heart")
DELTA = 0.5


def of_models(names: tuple[str, ...], checkpoints: Path) -> list[str]:
    """Overrides that compose some of the models, each from its own folder."""
    by_task: dict[str, list[str]] = {}
    for name in names:
        by_task.setdefault(TASKS[name], []).append(name)
    keys = ["model=paper", "model/judge=tiny", "~model/safety"]
    for task in ("generation", "detection", "classification"):
        chosen = by_task.get(task)
        keys.append(f"model/{task}=[{','.join(chosen)}]" if chosen else f"~model/{task}")
    for name in names:
        keys += [
            f"model.{name}.checkpoint={checkpoints / REPOSITORIES[name][1]}",
            f"model.{name}.dtype=float32",
        ]
    return keys


@dataclass(frozen=True)
class Run:
    """A study's folder and the words that were asked of it."""

    folder: Path
    cells: list[Cell]

    @property
    def store(self) -> WordStore:
        return WordStore(self.folder / "words")


def study(names: tuple[str, ...], checkpoints: Path, folder: Path, *overrides: str) -> Run:
    """Trains a word for a concept in each of the models, and measures it in all of them.

    As `action=run` does, without the report.
    """
    support = write_support(folder / "support.txt", every=60)
    others = [c for c in compose().dataset["tiny_shapes"].concepts if c not in CONCEPTS]
    keys = [
        *of_models(names, checkpoints),
        *(f"model.{name}.support={support}" for name in names),
        *(f"model.{name}.training={{steps:2,batch_size:2}}" for name in names),
        *("model.generation.image_size=32", "model.generation.denoising_steps=2"),
        *("dataset=tiny_shapes", "dataset.tiny_shapes.anchors=[cat,boat]"),
        *("dataset.tiny_shapes.training_images=2", "dataset.tiny_shapes.held_out_images=1"),
        *(f"~dataset.tiny_shapes.concepts.{concept}" for concept in others),
        *(f"concept={CONCEPTS[0]}", "anchor=cat", f"delta={DELTA}"),
        *("evaluation.baselines=[anchor]", "evaluation.save_images=true"),
        *("trainer.max_words_in_flight=1", f"outputs={folder}", *overrides),
    ]
    config = compose(keys)
    words, store = cells(config), WordStore(config.folder / "words")
    suite, datasets = build(config, torch.device("cpu")), data_loading.opened(config)
    with pytest.MonkeyPatch.context() as patch, stages(Console(), False) as bars:
        patch.setattr(diagnostics, "PHRASES", 60)  # prompts, of which 2,000 take a minute
        study = Study(config, suite, datasets, words, store, bars, lambda: False)
        train_words(study)
        if config.direction:
            measure_words(study, set(), config.folder)
    return Run(config.folder, words)


@pytest.fixture(scope="module")
def two(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return study(tuple(WIDTHS), checkpoints, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def frame(two: Run) -> pd.DataFrame:
    return results.finish(two.folder)


def test_each_generator_has_words_of_its_own_width_in_a_folder_of_its_own(two: Run) -> None:
    assert {cell.model for cell in two.cells} == set(WIDTHS)
    for cell in two.cells:
        word = two.store.load(cell)
        assert word.vectors_KD.shape == (4, WIDTHS[cell.model])
        assert word.cell == cell
        folder = two.store.folder / "tiny_shapes" / cell.model / CONCEPTS[0]
        assert two.store.path(cell).parent == folder
    files = list(two.store.folder.rglob("*.safetensors"))
    assert len(files) == len(two.cells) == len(WIDTHS)


def test_words_go_in_all_directions_from_one_generator_to_the_other_too(
    two: Run, frame: pd.DataFrame
) -> None:
    words = frame[frame["kind"] == "word"]
    assert words["value"].between(0, 1).all()
    for source, target in permutations(WIDTHS, 2):
        moved = words[(words["source_model"] == source) & (words["target_model"] == target)]
        assert set(moved["transfer"]) == {"least_squares"}
        assert set(moved["source_task"]) == {TASKS[source]}
        assert set(moved["target_task"]) == {TASKS[target]}
        fit = two.folder / "transfer" / f"least_squares-{source}_to_{target}-tiny_shapes.json"
        report = json.loads(fit.read_text())
        widths = report["source_width"], report["target_width"]
        assert widths == (WIDTHS[source], WIDTHS[target])
        assert set(moved["support"]) == {report["support"]}


def test_each_generator_has_results_of_its_own(two: Run, frame: pd.DataFrame) -> None:
    accuracy = frame[frame["metric"] == "generation_accuracy"]
    for name in GENERATORS:
        mine = accuracy[accuracy["target_model"] == name]
        own = mine[(mine["source_model"] == name) & (mine["transfer"] == "none")]
        assert len(own) == 1
        assert set(mine["kind"]) == {"anchor", "chance", "word"}
        others = mine[mine["transfer"] != "none"]["source_model"]
        assert set(others) == set(WIDTHS) - {name}
    write_summary(frame, two.folder / "summary.txt", two.cells, [])
    summary = (two.folder / "summary.txt").read_text()
    assert all(name in summary for name in WIDTHS)


def test_images_of_the_two_generators_are_kept_apart(two: Run) -> None:
    drawn = saved_images(two.folder / "images")
    assert set(drawn["target_model"]) == set(GENERATORS)
    for name in GENERATORS:
        mine = drawn[drawn["target_model"] == name]
        words = mine[mine["kind"] == "word"]
        assert set(words["source_model"]) == set(WIDTHS)
        assert len(mine) == len(WIDTHS) + 1  # and the anchor
    pairs = drawn.pivot_table("path", ["kind", "source_model"], "target_model", aggfunc="first")
    for first, second in pairs.itertuples(index=False):
        pixels = [np.asarray(Image.open(path), dtype=int) for path in (first, second)]
        assert pixels[0].shape == pixels[1].shape == (32, 32, 3)
        assert np.abs(pixels[0] - pixels[1]).max() > 0


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_trains_the_same_words_without_the_other(
    two: Run, checkpoints: Path, tmp_path: Path, name: str
) -> None:
    alone = study((name,), checkpoints, tmp_path, "direction=none")
    for cell in alone.cells:
        word, beside = alone.store.load(cell), two.store.load(cell)
        assert word.fingerprint == beside.fingerprint
        assert word.table == beside.table
        torch.testing.assert_close(word.vectors_KD, beside.vectors_KD, rtol=0, atol=0)


def composed(names: tuple[str, ...], checkpoints: Path) -> Suite:
    """The models with all of their tokens eligible, as published."""
    return build(compose(of_models(names, checkpoints)), torch.device("cpu"))


def test_radii_and_maps_do_not_depend_on_which_other_models_are_there(checkpoints: Path) -> None:
    pair = ("sd15", "dfn_clip")
    both, all_of_them = composed(pair, checkpoints), composed(tuple(WIDTHS), checkpoints)
    found = []
    for suite in (both, all_of_them):
        source, target = (suite.models[name].text for name in pair)
        words = [
            Cell("tiny_shapes", name, "star", anchor, 0.5, 0)
            for name in pair
            for anchor in ("cat", "boat")
        ]
        radius = [radii([cell], suite.models[cell.model].text) for cell in words]
        support = support_of(source, target)
        assert len(support) == 49406  # all of CLIP's but its two ends
        few = support.only(support.entries[::100])
        found.append((torch.cat(radius), support, LeastSquares().fit(source, target, few).matrix))
    (own_radius, support, matrix), (radius_of_all, support_of_all, matrix_of_all) = found
    assert (own_radius > 0).all()
    torch.testing.assert_close(own_radius, radius_of_all, rtol=0, atol=0)
    assert support == support_of_all
    np.testing.assert_array_equal(matrix, matrix_of_all)

"""action=figures on the tiny world with two generators: what it leaves, and that once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from made_up import config_of, make_up, make_up_words
from own_transfer import EXCLUDED
from vwtransfer.actions.figures import run
from vwtransfer.analysis.word_tables import ACTIVATIONS, NEIGHBOURS
from vwtransfer.config import Config
from vwtransfer.datasets import descriptions_of
from vwtransfer.errors import UserError
from vwtransfer.evaluation.saved_images import saved_images
from vwtransfer.study import data_loading

CONCEPTS = ["red_striped_star", "blue_dotted_heart"]
ANCHORS = ["zepu", "muli"]
SMALL = [
    f"concept=[{','.join(CONCEPTS)}]",
    f"anchor=[{','.join(ANCHORS)}]",
    "delta=null",
    "direction=[classification_to_generation,classification_to_detection]",
    "model.generation.denoising_steps=2",
    "dataset.tiny_shapes.held_out_images=2",
    "transfer._target_=own_transfer.Recorded",
    "transfer.exclude=description",
    "threads=1",
]
SECOND = """\
# @package model.tiny_sd_b
defaults: [tiny_sd@_here_]
name: tiny_sd_b
"""
GENERATORS = ("tiny_sd", "tiny_sd_b")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("outputs")
    own = folder / "conf" / "model" / "generation"
    own.mkdir(parents=True)
    (own / "tiny_sd_b.yaml").write_text(SECOND)
    two = [f"hydra.searchpath=[file://{folder / 'conf'}]", "model/generation=[tiny,tiny_sd_b]"]
    made = make_up(folder / "made", *two, *SMALL)
    make_up_words(made)
    run(made)
    return made


def test_no_map_is_fitted_on_what_the_concepts_are_called(config: Config) -> None:
    (dataset,) = data_loading.opened(config).values()
    assert descriptions_of(dataset) == EXCLUDED


def test_every_word_has_a_picture_in_the_models_that_make_them(config: Config) -> None:
    for kind, models in (("images", GENERATORS), ("detections", ("tiny_owlv2",))):
        saved = saved_images(config.folder / kind)
        assert set(saved["target_model"]) == set(models)
        for model, rows in saved.groupby("target_model"):
            origins = set(zip(rows["source_model"], rows["transfer"], strict=True))
            assert origins == {(model, "none"), ("tiny_clip", "least_squares")}
            assert len(rows) == 2 * len(CONCEPTS) * len(ANCHORS)
    cut = saved_images(config.folder / "cut")
    assert set(cut["number"]) == {1, 2, 3}
    assert set(cut["concept"]) == set(CONCEPTS)
    assert cut.groupby(["source_model", "target_model", "number"])["anchor"].nunique().eq(2).all()


def test_a_whole_encoder_draws_what_the_word_draws(config: Config) -> None:
    cut = saved_images(config.folder / "cut")
    for row in cut[cut["number"] == 3].itertuples():
        name = row.path.name.replace("-3.png", "-0.png")
        other = config.folder / "images" / row.path.relative_to(config.folder / "cut").parent / name
        with Image.open(row.path) as uncut, Image.open(other) as whole:
            pair = [np.asarray(image, dtype=int) for image in (uncut, whole)]
        assert np.abs(pair[0] - pair[1]).max() <= 1  # drawn in batches of other sizes


def test_the_tables_are_those_that_are_documented(config: Config) -> None:
    words = len(CONCEPTS) * len(ANCHORS)
    near = pd.read_parquet(config.folder / "neighbours")
    assert list(near) == list(NEIGHBOURS)
    assert len(near) == 7 * words * 4  # four models' own words, and three transfers
    own = near[near["transfer"] == "none"]
    first = own[own["vector"] == 0]  # the words were made up with their anchor in front
    assert (first["anchor_distance"] == 0).all()
    assert [names[0] for names in first["nearest"]] == first["anchor"].tolist()
    layers = pd.read_parquet(config.folder / "activations")
    assert list(layers) == list(ACTIVATIONS)
    assert len(layers) == 7 * words * 3
    assert layers["anchor_purity"].between(0, 1).all()


def test_figures_are_drawn_as_png_and_pdf(config: Config) -> None:
    drawn = sorted(path.stem for path in (config.folder / "figures").glob("*.png"))
    for start in (
        "activations-tiny_shapes-in-tiny_sd-inf",
        "cut-tiny_shapes-in-tiny_sd-inf",
        "cut-tiny_shapes-in-tiny_sd_b-inf",
        "detections-tiny_shapes-tiny_owlv2",
        "figure_3",
        "figure_4-tiny_shapes",
        "images-tiny_shapes-tiny_clip-least_squares-in-tiny_sd-inf",
        "images-tiny_shapes-tiny_clip-least_squares-in-tiny_sd_b-inf",
    ):
        assert any(name.startswith(start) for name in drawn), start
    assert sorted(p.stem for p in (config.folder / "figures").glob("*.pdf")) == drawn
    assert (config.folder / "report.html").is_file()


def test_a_second_time_makes_nothing_again(config: Config) -> None:
    kinds = ("images", "detections", "cut", "targets", "neighbours", "activations")
    files = [path for kind in kinds for path in (config.folder / kind).rglob("*.*")]
    before = [path.stat().st_mtime_ns for path in files]
    run(config)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_words_that_are_not_trained_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 12 words of this config is trained"):
        run(config_of(tmp_path / "none", *SMALL))

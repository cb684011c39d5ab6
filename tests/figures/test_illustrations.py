"""action=figures on the tiny world: what it leaves, that it is documented, and made once."""

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
from vwtransfer.evaluation.saved_images import kept_images
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
    "threads=1",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = make_up(tmp_path_factory.mktemp("outputs") / "made", *SMALL)
    make_up_words(made)
    run(made)
    return made


def test_no_map_is_fitted_on_what_the_concepts_are_called(config: Config) -> None:
    (dataset,) = data_loading.opened(config).values()
    assert descriptions_of(dataset) == EXCLUDED


def test_every_word_has_a_picture_in_the_models_that_make_them(config: Config) -> None:
    for kind, own in (("images", "generation"), ("detections", "detection")):
        kept = kept_images(config.folder / kind)
        origins = set(zip(kept["trained_for"], kept["transfer"], strict=True))
        assert origins == {(own, "none"), ("classification", "least_squares")}
        assert len(kept) == 2 * len(CONCEPTS) * len(ANCHORS)
    cut = kept_images(config.folder / "cut")
    assert set(cut["number"]) == {1, 2, 3}
    assert set(cut["concept"]) == set(CONCEPTS)
    assert cut.groupby(["trained_for", "number"])["anchor"].nunique().eq(2).all()


def test_a_whole_encoder_draws_what_the_word_draws(config: Config) -> None:
    cut = kept_images(config.folder / "cut")
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
    assert len(near) == 5 * words * 4  # three models' own words, and two transfers
    own = near[near["transfer"] == "none"]
    first = own[own["vector"] == 0]  # the words were made up with their anchor in front
    assert (first["anchor_distance"] == 0).all()
    assert [names[0] for names in first["nearest"]] == first["anchor"].tolist()
    layers = pd.read_parquet(config.folder / "activations")
    assert list(layers) == list(ACTIVATIONS)
    assert len(layers) == 5 * words * 3
    assert layers["anchor_purity"].between(0, 1).all()


def test_figures_are_drawn_as_png_and_pdf(config: Config) -> None:
    drawn = sorted(path.stem for path in (config.folder / "figures").glob("*.png"))
    for start in ("activations-tiny_shapes-in-generation", "cut-", "detections-", "figure_3"):
        assert any(name.startswith(start) for name in drawn), start
    for start in ("figure_4-tiny_shapes", "images-tiny_shapes-classification-least_squares"):
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

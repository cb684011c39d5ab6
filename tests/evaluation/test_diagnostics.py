"""The columns that may explain a lost word measure what they say, and stand in the results."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from composing import compose
from vwtransfer.actions.run import run
from vwtransfer.evaluation.diagnostics import (
    concept_onset_layer,
    distance,
    off_subspace_energy,
    output_distance,
    typical_distance,
)
from vwtransfer.results import DIAGNOSTICS
from vwtransfer.training.regularizers import leading_directions


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_energy_outside_the_table_is_what_its_principal_directions_leave_over() -> None:
    table_SD = torch.zeros(200, 6)
    table_SD[:, :2] = normal(200, 2)
    anchor_ND = normal(3, 6, seed=1)
    way_NKD = torch.zeros(3, 2, 6)
    way_NKD[0, :, 0] = 1.0
    way_NKD[1, :, 5] = 1.0
    way_NKD[2, 0, 1], way_NKD[2, 1, 4] = 3.0, 4.0
    found_N = off_subspace_energy(
        anchor_ND[:, None] + way_NKD, anchor_ND, leading_directions(table_SD)
    )
    torch.testing.assert_close(found_N.float(), torch.tensor([0, 1, 16 / 25]), atol=1e-4, rtol=0)


def test_a_word_that_never_left_its_anchor_went_nowhere_outside() -> None:
    anchor_ND = normal(1, 6)
    directions_RD = leading_directions(normal(50, 6))
    assert off_subspace_energy(anchor_ND[:, None], anchor_ND, directions_RD).tolist() == [0]


def test_distance_to_words_is_a_mean_over_vectors_of_that_to_the_nearest() -> None:
    table_SD = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    vectors_NKD = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[4.0, 0.0], [0.0, -4.0]]])
    assert distance(vectors_NKD, table_SD).tolist() == [0, 3]


def test_the_typical_distance_is_that_of_words_to_their_nearest_neighbours() -> None:
    line_SD = torch.tensor([[0.0], [1.0], [1.0], [5.0], [9.0]])  # two rows are one word
    assert float(typical_distance(line_SD)) == 1
    table_SD = normal(400, 8)
    among_SS = torch.cdist(table_SD, table_SD).fill_diagonal_(torch.inf).amin(dim=1)
    assert float(typical_distance(table_SD)) == pytest.approx(float(among_SS.median()), rel=1e-4)
    some = float(typical_distance(table_SD, sample=100))
    assert some == pytest.approx(float(among_SS[::4].median()), rel=1e-4)


def test_an_output_like_those_of_phrases_is_at_distance_one_on_average() -> None:
    ordinary_BF = normal(4000, 5) @ normal(5, 5, seed=1) + 3
    among = output_distance(ordinary_BF, ordinary_BF).square().mean()
    assert float(among) == pytest.approx(1, rel=1e-6)
    mean_F, end_F = ordinary_BF.mean(0), ordinary_BF[0]
    far_N = output_distance(torch.stack([mean_F, mean_F + 10 * (end_F - mean_F)]), ordinary_BF)
    assert float(far_N[0]) == pytest.approx(0, abs=1e-3)
    assert float(far_N[1]) == pytest.approx(10 * float(output_distance(end_F[None], ordinary_BF)))


def test_the_onset_layer_is_the_first_that_is_nearer_to_the_name() -> None:
    anchor_HND = torch.tensor([1.0, 0.0]).expand(3, 3, 2)
    name_HND = torch.tensor([0.0, 1.0]).expand(3, 3, 2)
    word_HND = torch.stack(
        [
            torch.tensor([[0.1, 1.0], [1.0, 0.0], [1.0, 0.0]]),
            torch.tensor([[0.1, 1.0], [1.0, 0.9], [1.0, 0.0]]),
            torch.tensor([[0.1, 1.0], [0.0, 1.0], [1.0, 0.0]]),
        ]
    )
    assert concept_onset_layer(word_HND, anchor_HND, name_HND).tolist() == [1, 3, 4]


def test_every_trained_word_of_a_study_has_its_diagnostics_in_the_results(tmp_path: Path) -> None:
    config = compose(
        [
            "dataset=tiny_shapes",
            "concept=[red_striped_star,blue_dotted_star]",
            "anchor=[zepu]",
            "task=[classification,detection]",
            "direction=classification_to_detection",
            "model.classification.training.steps=40",
            "model.detection.training.steps=1",
            "dataset.tiny_shapes.held_out_images=2",
            f"outputs={tmp_path}",
            "progress=false",
            "report=false",
            "threads=1",
        ]
    )
    run(config)
    frame = pd.read_parquet(config.folder / "results.parquet")
    of_words = frame["kind"] == "word"
    assert frame.loc[of_words, list(DIAGNOSTICS)].notna().all(axis=None)
    assert frame.loc[~of_words, list(DIAGNOSTICS)].isna().all(axis=None)
    words = frame[of_words].groupby(["source_model", "concept"])[list(DIAGNOSTICS)]
    assert (words.nunique() == 1).all(axis=None)
    assert words.first()["off_subspace_energy"].between(0, 1).all()
    assert words.first()["concept_onset_layer"].between(1, 4).all()

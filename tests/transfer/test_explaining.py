"""The columns that explain a lost word measure what they say, and so does their correlation."""

import numpy as np
import pandas as pd
import pytest
import torch

from vwtransfer.leaderboard.explaining import (
    far_from_words,
    outside_table,
    rank_correlations,
    strange_output,
    turning_block,
)


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
    found_N = outside_table(anchor_ND[:, None] + way_NKD, anchor_ND, table_SD)
    torch.testing.assert_close(found_N.float(), torch.tensor([0, 1, 16 / 25]), atol=1e-4, rtol=0)


def test_distance_to_words_is_counted_in_the_words_own_distances() -> None:
    table_SD = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    vectors_NKD = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[4.0, 0.0], [0.0, -4.0]]])
    assert far_from_words(vectors_NKD, table_SD).tolist() == [0, 1.5]


def test_an_output_like_those_of_phrases_is_at_distance_one_on_average() -> None:
    ordinary_BF = normal(4000, 5) @ normal(5, 5, seed=1) + 3
    among = strange_output(ordinary_BF, ordinary_BF).square().mean()
    assert float(among) == pytest.approx(1, rel=1e-6)
    mean_F, end_F = ordinary_BF.mean(0), ordinary_BF[0]
    far_N = strange_output(torch.stack([mean_F, mean_F + 10 * (end_F - mean_F)]), ordinary_BF)
    assert float(far_N[0]) == pytest.approx(0, abs=1e-3)
    assert float(far_N[1]) == pytest.approx(10 * float(strange_output(end_F[None], ordinary_BF)))


def test_the_turning_block_is_the_first_that_is_nearer_to_the_name() -> None:
    anchor_HND = torch.tensor([1.0, 0.0]).expand(3, 3, 2)
    name_HND = torch.tensor([0.0, 1.0]).expand(3, 3, 2)
    word_HND = torch.stack(
        [
            torch.tensor([[0.1, 1.0], [1.0, 0.0], [1.0, 0.0]]),
            torch.tensor([[0.1, 1.0], [1.0, 0.9], [1.0, 0.0]]),
            torch.tensor([[0.1, 1.0], [0.0, 1.0], [1.0, 0.0]]),
        ]
    )
    assert turning_block(word_HND, anchor_HND, name_HND).tolist() == [1, 3, 4]


def table(noise: float, words: int = 60) -> pd.DataFrame:
    """Two groups of words whose loss follows one column, at another level in each group."""
    rng = np.random.default_rng(0)
    rows = []
    for dataset, level in (("a", 0.0), ("b", 5.0)):
        strange = rng.normal(size=words)
        rows.append(
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "trained_for": "detection",
                    "evaluated_on": "classification",
                    "strange_output": strange - level,
                    "far_from_words": rng.normal(size=words),
                    "turning_block": 3,
                    "loss": strange + noise * rng.normal(size=words) + level,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def test_correlations_are_within_groups_and_carry_an_interval() -> None:
    found = rank_correlations(table(noise=0.5), resamples=300).set_index("column")
    assert found.rho["strange_output"] > 0.75
    assert found.low["strange_output"] < found.rho["strange_output"] < found.high["strange_output"]
    assert found.low["far_from_words"] < 0 < found.high["far_from_words"]
    assert found.groups["strange_output"] == 2


def test_a_column_that_does_not_vary_predicts_nothing() -> None:
    found = rank_correlations(table(noise=0.0), resamples=20).set_index("column")
    assert np.isnan(found.rho["turning_block"])
    assert found.groups["turning_block"] == 0
    assert found.rho["strange_output"] == pytest.approx(1)

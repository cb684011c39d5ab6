"""The rank correlation of a diagnostic with the loss is what the page says it is."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from vwtransfer.leaderboard.predictors import rank_correlation, rank_correlations


def table(noise: float, words: int = 60) -> pd.DataFrame:
    """Two groups of words whose loss follows one column, at another level in each group."""
    rng = np.random.default_rng(0)
    rows = []
    for dataset, level in (("a", 0.0), ("b", 5.0)):
        distance = rng.normal(size=words)
        rows.append(
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "source_model": "tiny_owlv2",
                    "target_model": "tiny_clip",
                    "concept": [f"concept{i // 6}" for i in range(words)],
                    "anchor": [f"anchor{i % 6}" for i in range(words)],
                    "output_distance": distance - level,
                    "vocabulary_distance": rng.normal(size=words),
                    "concept_onset_layer": 3,
                    "loss": distance + noise * rng.normal(size=words) + level,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def test_correlations_are_within_groups_and_carry_an_interval() -> None:
    found = rank_correlations(table(noise=0.5), resamples=300).set_index("column")
    assert found.rho["output_distance"] > 0.75
    assert (
        found.low["output_distance"] < found.rho["output_distance"] < found.high["output_distance"]
    )
    assert found.low["vocabulary_distance"] < 0 < found.high["vocabulary_distance"]
    assert found.groups["output_distance"] == 2


def test_words_of_a_concept_are_drawn_together() -> None:
    alike = table(noise=0.5)
    of_concept = alike.groupby(["dataset", "concept"])
    for column in ("output_distance", "loss"):  # as if there were one anchor, six times
        alike[column] = of_concept[column].transform("first")
    found = rank_correlations(alike, resamples=300).set_index("column").loc["output_distance"]
    loose = rank_correlations(table(noise=0.5), resamples=300).set_index("column")
    wide = loose.loc["output_distance"]
    assert found.high - found.low > 1.3 * (wide.high - wide.low)


def test_words_without_the_column_do_not_count() -> None:
    whole, part = table(noise=0.5), table(noise=0.5)
    part.loc[::2, "output_distance"] = np.nan
    of_the_rest = rank_correlations(whole.iloc[1::2], resamples=20).set_index("column")
    found = rank_correlations(part, resamples=20).set_index("column")
    assert found.rho["output_distance"] == of_the_rest.rho["output_distance"]


def test_a_column_that_does_not_vary_predicts_nothing() -> None:
    found = rank_correlations(table(noise=0.0), resamples=20).set_index("column")
    assert np.isnan(found.rho["concept_onset_layer"])
    assert found.groups["concept_onset_layer"] == 0
    assert found.rho["output_distance"] == pytest.approx(1)


def test_resampled_correlations_are_those_of_the_words_written_out() -> None:
    rng = np.random.default_rng(3)
    pairs_W2 = rng.integers(4, size=(12, 2)).astype(float)  # with ties
    pairs_W2[5] = np.nan
    often_RW = rng.integers(4, size=(6, 12))
    often_RW[0] = 1
    found_R = rank_correlation(pairs_W2, often_RW)
    for rho, often_W in zip(found_R, often_RW, strict=True):
        drawn = np.repeat(pairs_W2, often_W, axis=0)
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        assert rho == pytest.approx(spearmanr(drawn[:, 0], drawn[:, 1]).statistic)

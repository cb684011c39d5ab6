"""The rank correlation of a cause with the loss is what the page says it is."""

import numpy as np
import pandas as pd
import pytest

from vwtransfer.leaderboard.predictors import rank_correlations


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
                    "concept": [f"concept{i // 6}" for i in range(words)],
                    "anchor": [f"anchor{i % 6}" for i in range(words)],
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


def test_words_of_a_concept_are_drawn_together() -> None:
    alike = table(noise=0.5)
    of_concept = alike.groupby(["dataset", "concept"])
    for column in ("strange_output", "loss"):  # as if there were one anchor, six times
        alike[column] = of_concept[column].transform("first")
    found = rank_correlations(alike, resamples=300).set_index("column").loc["strange_output"]
    loose = rank_correlations(table(noise=0.5), resamples=300).set_index("column")
    wide = loose.loc["strange_output"]
    assert found.high - found.low > 1.3 * (wide.high - wide.low)


def test_words_without_the_column_do_not_count() -> None:
    whole, half = table(noise=0.5), table(noise=0.5)
    half.loc[::2, "strange_output"] = np.nan
    of_the_rest = rank_correlations(whole.iloc[1::2], resamples=20).set_index("column")
    found = rank_correlations(half, resamples=20).set_index("column")
    assert found.rho["strange_output"] == of_the_rest.rho["strange_output"]


def test_a_column_that_does_not_vary_predicts_nothing() -> None:
    found = rank_correlations(table(noise=0.0), resamples=20).set_index("column")
    assert np.isnan(found.rho["turning_block"])
    assert found.groups["turning_block"] == 0
    assert found.rho["strange_output"] == pytest.approx(1)

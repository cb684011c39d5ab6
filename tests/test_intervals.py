"""Means over trials come with the interval that scipy's percentile bootstrap gives."""

import math

import numpy as np
import pytest
from scipy import stats

from vwtransfer.results.intervals import bootstrap_mean


def test_the_interval_is_that_of_scipy() -> None:
    trials = np.random.default_rng(3).random(40)
    ours = bootstrap_mean(trials, resamples=2_000, seed=5)
    theirs = stats.bootstrap(
        (trials,),
        np.mean,
        method="percentile",
        n_resamples=2_000,
        rng=np.random.default_rng([5, 0]),
    ).confidence_interval
    assert ours.mean == pytest.approx(trials.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_resampling_in_pieces_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = np.random.default_rng(4).random(30)
    whole = bootstrap_mean(trials)
    monkeypatch.setattr("vwtransfer.results.intervals.INDICES_AT_ONCE", 3_000)
    assert bootstrap_mean(trials) == pytest.approx(whole, abs=2e-3)


def test_ninety_five_intervals_in_a_hundred_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.random(100), resamples=500, seed=i) for i in range(300)]
    assert np.mean([i.low <= 0.5 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.03)


def test_the_published_width_of_a_share_of_100_trials() -> None:
    # figure 3 of the paper, ImageNet: 67 of 100 generations judged right, [0.58, 0.76]
    interval = bootstrap_mean([1.0] * 67 + [0.0] * 33)
    assert interval[:3] == pytest.approx((0.67, 0.58, 0.76), abs=0.011)


def test_equal_trials_give_an_interval_of_no_width() -> None:
    assert bootstrap_mean([0.3] * 10)[:3] == pytest.approx((0.3, 0.3, 0.3))


def test_one_trial_gives_a_mean_without_an_interval() -> None:
    mean, low, high, trials = bootstrap_mean([0.25])
    assert (mean, trials) == (0.25, 1)
    assert math.isnan(low) and math.isnan(high)


def test_the_same_seed_gives_the_same_interval() -> None:
    trials = [0.0, 0.2, 0.9, 1.0]
    assert bootstrap_mean(trials, seed=1) == bootstrap_mean(trials, seed=1)


@pytest.mark.parametrize("trials", [[], [0.5, math.nan], [math.inf, 1.0], [[0.1, 0.2]]])
def test_what_has_no_mean_is_refused(trials: list[float]) -> None:
    with pytest.raises(ValueError, match="trial"):
        bootstrap_mean(trials)

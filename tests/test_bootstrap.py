"""Means over words come with the interval of a bootstrap over concepts, then anchors."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vwtransfer.results import bootstrap
from vwtransfer.results.bootstrap import (
    Estimate,
    bootstrap_mean,
    draws,
    mean_of,
    means_by,
    over_builds,
    sizes_of,
)

WORDS = [
    (concept, anchor) for concept in "abcd" for anchor in ("x", "y", "z")[: 1 + ord(concept) % 3]
]


def test_a_resample_draws_concepts_and_then_as_many_anchors_as_each_has() -> None:
    size = {concept: sum(c == concept for c, _ in WORDS) for concept in "abcd"}
    concepts = [concept for concept, _ in WORDS]
    often_RW = np.concatenate(list(draws(sizes_of(concepts), "d", 500)))
    of_concept = pd.DataFrame(often_RW.T).groupby(concepts).sum().T
    times = of_concept / pd.Series(size)
    assert (times == times.round()).all(axis=None)  # each time it is drawn, all of its words are
    assert (times.sum(axis=1) == 4).all()
    expected = [1 / 4 * 4] * 4
    assert times.mean().to_numpy() == pytest.approx(expected, abs=0.15)


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(2)
    effect = dict(zip("abcd", rng.random(4), strict=True))
    value = {word: effect[word[0]] + 0.1 * rng.random() for word in WORDS}
    found = bootstrap_mean(list(value.values()), [concept for concept, _ in WORDS])
    anchors = {concept: [a for c, a in WORDS if c == concept] for concept in "abcd"}
    means = []
    for _ in range(4000):
        drawn = [
            value[concept, anchor]
            for concept in rng.choice(list("abcd"), 4)
            for anchor in rng.choice(anchors[concept], len(anchors[concept]))
        ]
        means.append(np.mean(drawn))
    assert found.value == pytest.approx(np.mean(list(value.values())))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_words_by_themselves_give_the_interval_of_scipy() -> None:
    trials = np.random.default_rng(3).random(40)
    ours = bootstrap_mean(trials)
    theirs = stats.bootstrap((trials,), np.mean, method="percentile", n_resamples=4_000, rng=0)
    assert ours.value == pytest.approx(trials.mean())
    interval = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_words_of_one_concept_that_are_alike_widen_the_interval() -> None:
    values = np.repeat([0.2, 0.4, 0.6, 0.8], 25)
    alone = bootstrap_mean(values)
    grouped = bootstrap_mean(values, np.repeat(list("abcd"), 25))
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_the_order_of_words_makes_no_difference() -> None:
    values, concepts = np.arange(9.0), list("aabbbcccc")
    shuffled = np.random.default_rng(0).permutation(9)
    one = bootstrap_mean([5.0] * 9, concepts)
    two = bootstrap_mean(values[shuffled], np.array(concepts)[shuffled])
    three = bootstrap_mean(values, concepts)
    assert (one.low, one.high) == (5.0, 5.0)
    assert two.value == three.value
    assert two.high == pytest.approx(three.high, abs=0.4)


def test_resampling_in_pieces_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = np.random.default_rng(4).random(30)
    whole = bootstrap_mean(trials)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 3_000)
    pieces = bootstrap_mean(trials)
    assert len(pieces.draws) == len(whole.draws)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_ninety_five_intervals_in_a_hundred_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(rng.random(100), resamples=300, dataset=f"{i}") for i in range(200)]
    assert np.mean([e.low <= 0.5 <= e.high for e in found]) == pytest.approx(0.95, abs=0.04)


def test_the_published_width_of_a_share_of_100_trials() -> None:
    # figure 3 of the paper, ImageNet: 67 of 100 generations judged right, [0.58, 0.76]
    found = bootstrap_mean([1.0] * 67 + [0.0] * 33)
    assert (found.value, found.low, found.high) == pytest.approx((0.67, 0.58, 0.76), abs=0.011)


def test_one_word_gives_a_mean_without_an_interval() -> None:
    found = bootstrap_mean([0.25])
    assert found.value == 0.25
    assert math.isnan(found.low) and math.isnan(found.high)
    assert str(found) == "0.25"


def test_the_same_seed_gives_the_same_draws_and_another_dataset_others() -> None:
    trials = [0.0, 0.2, 0.9, 1.0]
    assert (bootstrap_mean(trials).draws == bootstrap_mean(trials).draws).all()
    other = bootstrap_mean(trials, dataset="other")
    assert (bootstrap_mean(trials).draws != other.draws).any()


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf, 1.0], [[0.1, 0.2]]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        bootstrap_mean(values)


def test_means_of_groups_are_those_of_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        [
            {"dataset": d, "concept": c, "anchor": a, "metric": m, "value": rng.random()}
            for d in ("d0", "d1")
            for c, a in WORDS
            for m in ("m0", "m1")
        ]
    )
    frame.loc[0, "value"] = math.nan
    table = means_by(frame.sample(frac=1, random_state=0), ["dataset", "metric"], resamples=200)
    assert table["trials"].tolist() == [len(WORDS) - 1, *[len(WORDS)] * 3]
    assert table["failed"].tolist() == [1, 0, 0, 0]
    row = table.iloc[3]
    mine = frame[(frame["dataset"] == "d1") & (frame["metric"] == "m1")]
    alone = bootstrap_mean(mine["value"], mine["concept"], dataset="d1", resamples=200)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )


def test_a_group_in_which_all_failed_has_no_mean() -> None:
    frame = pd.DataFrame({"dataset": "d", "concept": ["a", "b"], "anchor": "x", "value": math.nan})
    (row,) = means_by(frame, ["dataset"], resamples=20).to_dict("records")
    assert math.isnan(row["mean"]) and math.isnan(row["low"])
    assert (row["trials"], row["failed"]) == (0, 2)


def test_a_paired_difference_is_of_the_same_resamples() -> None:
    values = np.random.default_rng(0).random(20)
    difference = bootstrap_mean(values + 0.1) - bootstrap_mean(values)
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))


def test_what_is_undefined_enters_no_mean() -> None:
    nothing = Estimate.of(math.nan, np.full(3, 9.0))
    one, two = Estimate.of(1.0, np.array([1.0, 2.0, np.nan])), Estimate.of(3.0, np.full(3, 4.0))
    mean = mean_of([one, nothing, two])
    assert mean.value == 2
    assert mean.draws.tolist() == [2.5, 3.0, 4.0]
    assert math.isnan(mean_of([nothing]).value)
    assert str(nothing) == "-"


def test_builds_are_drawn_before_what_is_in_them() -> None:
    rng = np.random.default_rng(0)
    alike = [Estimate.of(0.5, rng.normal(0.5, 0.1, 4000)) for _ in range(8)]
    apart = [Estimate.of(m, rng.normal(m, 0.1, 4000)) for m in np.linspace(0, 1, 8)]
    assert over_builds(alike).draws.std() == pytest.approx(0.1 / 8**0.5, rel=0.1)
    spread = np.linspace(0, 1, 8).std()
    expected = ((0.1**2 + spread**2) / 8) ** 0.5
    assert over_builds(apart).draws.std() == pytest.approx(expected, rel=0.1)

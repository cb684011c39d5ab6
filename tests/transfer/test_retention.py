"""Retention, its intervals and its paired differences are those of the definition."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from vwtransfer.results.retention import OVERALL, Estimate, gains, retention

ALL = (OVERALL, OVERALL)
CONCEPTS, ANCHORS = ["star", "moon", "ring"], ["zepu", "muli"]
METRIC = {"detection": "mean_average_precision", "classification": "classifier_balanced_accuracy"}


def rows(
    dataset: str,
    evaluated_on: str,
    trained_for: str,
    transfer: str,
    values: Mapping[tuple[str, str], float],
) -> list[dict[str, object]]:
    return [
        {
            "experiment": "made_up",
            "dataset": dataset,
            "concept": concept,
            "anchor": anchor,
            "delta": math.inf,
            "trained_for": trained_for,
            "transfer": transfer,
            "evaluated_on": evaluated_on,
            "metric": METRIC[evaluated_on],
            "value": value,
        }
        for (concept, anchor), value in values.items()
    ]


def study(seed: int = 0, datasets: int = 1) -> pd.DataFrame:
    """Two tasks, three concepts with two anchors, and transfers both ways by two methods."""
    rng = np.random.default_rng(seed)
    words = [(concept, anchor) for concept in CONCEPTS for anchor in ANCHORS]
    found = []
    for number in range(datasets):
        for target, source in zip(METRIC, list(METRIC)[::-1], strict=True):
            for trained_for, transfer, low in (
                ("anchor", "none", 0.0),
                (target, "none", 0.8),
                (source, "least_squares", 0.3),
                (source, "better", 0.6),
            ):
                values = {word: low + 0.2 * rng.random() for word in words}
                found += rows(f"d{number}", target, trained_for, transfer, values)
    return pd.DataFrame(found)


def mean(frame: pd.DataFrame, trained_for: str, transfer: str, evaluated_on: str) -> float:
    chosen = frame[
        (frame.trained_for == trained_for)
        & (frame["transfer"] == transfer)
        & (frame.evaluated_on == evaluated_on)
    ]
    return float(chosen.value.mean())


def test_retention_is_the_share_of_what_training_in_the_target_gains_over_the_anchor() -> None:
    frame = study()
    found = retention(frame, "better", resamples=50)
    expected = []
    for source, target in (("detection", "classification"), ("classification", "detection")):
        anchor = mean(frame, "anchor", "none", target)
        own = mean(frame, target, "none", target)
        share = (mean(frame, source, "better", target) - anchor) / (own - anchor)
        assert found[source, target].value == pytest.approx(share)
        expected.append(share)
    assert found[ALL].value == pytest.approx(np.mean(expected))
    assert set(found) == {ALL, ("detection", "classification"), ("classification", "detection")}


def test_datasets_count_alike_whatever_their_size() -> None:
    frame = study(datasets=2)
    small = frame[(frame.dataset == "d0") | (frame.concept == "star")]
    alone = [retention(small[small.dataset == d], "better", 20)[ALL].value for d in ("d0", "d1")]
    assert retention(small, "better", 20)[ALL].value == pytest.approx(np.mean(alone))


def test_the_interval_is_a_bootstrap_over_concepts_and_then_their_anchors() -> None:
    frame = study(seed=3)
    found = retention(frame, "better", resamples=4000)["detection", "classification"]
    table = {
        kind: frame[
            (frame.trained_for == kind[0])
            & (frame["transfer"] == kind[1])
            & (frame.evaluated_on == "classification")
        ].set_index(["concept", "anchor"])["value"]
        for kind in (("anchor", "none"), ("classification", "none"), ("detection", "better"))
    }
    rng = np.random.default_rng(11)
    drawn = []
    for _ in range(4000):
        sample = [
            (concept, ANCHORS[a])
            for concept in rng.choice(CONCEPTS, 3)
            for a in rng.integers(2, size=2)
        ]
        anchor, own, moved = (np.mean([column[w] for w in sample]) for column in table.values())
        drawn.append((moved - anchor) / (own - anchor))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.006)
    assert found.high == pytest.approx(high, abs=0.006)


def test_datasets_are_drawn_independently_of_each_other() -> None:
    frame = study(seed=3)
    twice = pd.concat([frame, frame.assign(dataset="another")], ignore_index=True)
    one, two = (retention(f, "better", resamples=4000)[ALL] for f in (frame, twice))
    assert two.value == pytest.approx(one.value)
    ratio = (two.high - two.low) / (one.high - one.low)
    assert ratio == pytest.approx(2**-0.5, abs=0.05)


def test_concepts_count_alike_whatever_the_number_of_their_anchors() -> None:
    frame = study(seed=3)
    uneven = frame[(frame.concept != "star") | (frame.anchor == "zepu")]
    found = retention(uneven, "better", resamples=4000)["detection", "classification"]
    of = {
        kind: float(chosen.groupby("concept")["value"].mean().mean())
        for kind, chosen in uneven[uneven.evaluated_on == "classification"].groupby(
            ["trained_for", "transfer"]
        )
    }
    anchor, own = of["anchor", "none"], of["classification", "none"]
    assert found.value == pytest.approx((of["detection", "better"] - anchor) / (own - anchor))
    assert found.value == pytest.approx(float(np.median(found.resamples)), abs=0.02)


def test_a_paired_difference_is_tighter_than_its_parts() -> None:
    frame = study(seed=1)
    same = frame[frame["transfer"] == "better"].assign(transfer="shifted")
    same["value"] -= 0.1
    both = pd.concat([frame, same], ignore_index=True)
    better, shifted = (retention(both, method)[ALL] for method in ("better", "shifted"))
    difference = better - shifted
    assert difference.value == pytest.approx(better.value - shifted.value)
    assert difference.low > 0
    assert difference.high - difference.low < 0.5 * (better.high - better.low)


def test_the_concepts_names_are_measured_on_the_same_scale() -> None:
    frame = study()
    names = []
    for target in METRIC:
        values = {(concept, ""): mean(frame, target, "none", target) for concept in CONCEPTS}
        names += rows("d0", target, "name", "none", values)
    found = retention(pd.concat([frame, pd.DataFrame(names)]), "name", resamples=20)
    assert found[ALL].value == pytest.approx(1)


def test_where_training_gains_next_to_nothing_there_is_nothing_to_keep() -> None:
    frame = study(datasets=2)
    useless = (frame.dataset == "d0") & (frame.trained_for == "classification")
    useless &= frame.evaluated_on == "classification"
    frame.loc[useless, "value"] = 0.15
    found = retention(frame, "better", resamples=50)
    rest = retention(frame[frame.dataset == "d1"], "better", resamples=50)
    pair = ("detection", "classification")
    assert found[pair].value == pytest.approx(rest[pair].value)
    small = gains(frame).query("gain < 0.1")
    assert small[["dataset", "evaluated_on"]].to_numpy().tolist() == [["d0", "classification"]]
    nothing = retention(frame[frame.dataset == "d0"], "better", resamples=50)
    assert math.isnan(nothing[pair].value)
    assert math.isnan(nothing[pair].low)
    assert nothing[ALL].value == nothing["classification", "detection"].value


def test_words_of_a_delta_are_held_against_those_of_the_same_delta() -> None:
    frame = study()
    words = frame[frame.trained_for != "anchor"]
    within = words.assign(delta=0.5, value=words["value"] - 0.2)
    both = pd.concat([frame, within], ignore_index=True)
    alone = pd.concat([frame[frame.trained_for == "anchor"], within], ignore_index=True)
    free, held = (
        retention(both, "better", 50, delta=delta)[ALL].value for delta in (math.inf, 0.5)
    )
    assert free == retention(frame, "better", 50)[ALL].value
    assert held == retention(alone, "better", 50, delta=0.5)[ALL].value
    assert held < free


def test_a_failed_word_is_left_out_and_the_others_stand() -> None:
    frame = study()
    frame.loc[frame[frame["transfer"] == "better"].index[0], "value"] = math.nan
    found = retention(frame, "better", resamples=50)
    assert all(math.isfinite(estimate.value) for estimate in found.values())


def test_words_in_balls_and_other_metrics_are_not_counted() -> None:
    frame = study()
    other = [frame.assign(delta=0.5, value=0.0), frame.assign(metric="another", value=0.0)]
    mixed = pd.concat([frame, *other], ignore_index=True)
    assert retention(mixed, "better", 20)[ALL].value == retention(frame, "better", 20)[ALL].value


def test_a_transfer_without_the_words_trained_in_the_target_is_refused() -> None:
    frame = study()
    frame = frame[frame.trained_for != "anchor"]
    with pytest.raises(ValueError, match="no row of anchor words"):
        retention(frame, "better", resamples=5)


def test_a_constant_has_an_interval_of_no_width() -> None:
    estimate = Estimate.of(0.5, np.full(10, 0.5))
    assert (estimate.low, estimate.high) == (0.5, 0.5)

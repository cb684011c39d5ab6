"""Retention, its intervals and its paired differences are those of the definition."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from fabricated import MODELS, TWO_GENERATORS, of
from fabricated import study as fabricated
from vwtransfer.results.statistics import gains, reached, retention

PAIRS = [("tiny_owlv2", "tiny_clip"), ("tiny_clip", "tiny_owlv2")]
CONCEPTS, ANCHORS = ["star", "moon", "ring"], ["zepu", "muli"]
METRIC = {"tiny_owlv2": "mean_average_precision", "tiny_clip": "classifier_balanced_accuracy"}


def rows(
    dataset: str,
    target: str,
    source: str,
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
            **of(source, target, transfer),
            "metric": METRIC[target],
            "value": value,
        }
        for (concept, anchor), value in values.items()
    ]


def study(seed: int = 0, datasets: int = 1) -> pd.DataFrame:
    """Two models, three concepts with two anchors, and transfers both ways by two methods."""
    rng = np.random.default_rng(seed)
    words = [(concept, anchor) for concept in CONCEPTS for anchor in ANCHORS]
    found = []
    for number in range(datasets):
        for target, source in zip(METRIC, list(METRIC)[::-1], strict=True):
            for kind, transfer, low in (
                ("anchor", "none", 0.0),
                (target, "none", 0.8),
                (source, "least_squares", 0.3),
                (source, "better", 0.6),
            ):
                values = {word: low + 0.2 * rng.random() for word in words}
                found += rows(f"d{number}", target, kind, transfer, values)
    return pd.DataFrame(found)


def mean(frame: pd.DataFrame, source: str, transfer: str, target: str) -> float:
    chosen = frame[
        (frame["source_model"].where(frame["kind"] == "word", frame["kind"]) == source)
        & (frame["transfer"] == transfer)
        & (frame["target_model"] == target)
    ]
    return float(chosen["value"].mean())


def test_retention_is_the_share_of_what_training_in_the_target_gains_over_the_anchor() -> None:
    frame = study()
    found = retention(frame, "better", resamples=50)
    expected = []
    for source, target in PAIRS:
        anchor = mean(frame, "anchor", "none", target)
        own = mean(frame, target, "none", target)
        share = (mean(frame, source, "better", target) - anchor) / (own - anchor)
        assert found.directions[source, target].value == pytest.approx(share)
        expected.append(share)
    assert found.overall.value == pytest.approx(np.mean(expected))
    assert set(found.directions) == set(PAIRS)


def test_a_worked_example() -> None:
    # detection: (0.5 - 0.1) / (0.9 - 0.1) = 0.5; classification: (1.0 - 0.5) / (0.75 - 0.5) = 2
    level = {("anchor", "tiny_owlv2"): 0.1, ("anchor", "tiny_clip"): 0.5}
    level |= {("tiny_owlv2", "tiny_owlv2"): 0.9, ("tiny_clip", "tiny_clip"): 0.75}
    level |= {("tiny_clip", "tiny_owlv2"): 0.5, ("tiny_owlv2", "tiny_clip"): 1.0}
    words = {(concept, anchor): 0.0 for concept in CONCEPTS for anchor in ANCHORS}
    frame = pd.DataFrame(
        [
            row
            for (source, target), value in level.items()
            for row in rows("d", target, source, "least_squares", dict.fromkeys(words, value))
        ]
    )
    found = retention(frame, "least_squares", resamples=20)
    assert found.directions["tiny_clip", "tiny_owlv2"].value == pytest.approx(0.5)
    assert found.directions["tiny_owlv2", "tiny_clip"].value == pytest.approx(2.0)
    assert found.overall.value == pytest.approx(1.25)
    assert found.capped.value == pytest.approx(0.75)
    assert (found.capped.low, found.capped.high) == pytest.approx((0.75, 0.75))
    assert (found.defined, found.undefined) == (2, [])


def test_several_models_of_one_task_are_directions_of_their_own() -> None:
    frame = fabricated(models=TWO_GENERATORS, words=20)
    found = retention(frame, "least_squares", resamples=50)
    models = list(TWO_GENERATORS)
    assert set(found.directions) == {(a, b) for a in models for b in models if a != b}
    moved = frame[frame["metric"] == "generation_accuracy"]
    anchor, across, own = (
        mean(moved, source, transfer, "tiny_sd_b")
        for source, transfer in (
            ("anchor", "none"),
            ("tiny_sd", "least_squares"),
            ("tiny_sd_b", "none"),
        )
    )
    share = (across - anchor) / (own - anchor)
    assert found.directions["tiny_sd", "tiny_sd_b"].value == pytest.approx(share)


def test_results_with_text_as_categories_give_the_same() -> None:
    frame = fabricated(datasets=["d0", "d1"])
    text = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    categorical = frame.astype(dict.fromkeys(text, "category"))
    for method in ("least_squares", "name"):
        one, two = (retention(f, method, resamples=20).overall for f in (frame, categorical))
        assert (one.value, one.low) == (two.value, two.low)


def test_datasets_count_alike_whatever_their_size() -> None:
    frame = study(datasets=2)
    small = frame[(frame.dataset == "d0") | (frame.concept == "star")]
    alone = [retention(small[small.dataset == d], "better").overall.value for d in ("d0", "d1")]
    assert retention(small, "better").overall.value == pytest.approx(np.mean(alone))


def test_the_interval_is_a_bootstrap_over_concepts_and_then_their_anchors() -> None:
    frame = study(seed=3)
    found = retention(frame, "better").directions[PAIRS[0]]
    table = {
        kind: frame[
            (frame["source_model"].where(frame["kind"] == "word", frame["kind"]) == kind[0])
            & (frame["transfer"] == kind[1])
            & (frame["target_model"] == "tiny_clip")
        ].set_index(["concept", "anchor"])["value"]
        for kind in (("anchor", "none"), ("tiny_clip", "none"), ("tiny_owlv2", "better"))
    }
    values = {kind: column.to_dict() for kind, column in table.items()}
    rng = np.random.default_rng(11)
    drawn = []
    for _ in range(2000):
        sample = [
            (CONCEPTS[c], ANCHORS[a])
            for c in rng.integers(3, size=3)
            for a in rng.integers(2, size=2)
        ]
        anchor, own, moved = (sum(of[w] for w in sample) for of in values.values())
        drawn.append((moved - anchor) / (own - anchor))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.008)
    assert found.high == pytest.approx(high, abs=0.008)


def test_datasets_are_drawn_independently_of_each_other() -> None:
    frame = study(seed=3)
    twice = pd.concat([frame, frame.assign(dataset="another")], ignore_index=True)
    one, two = (retention(f, "better").overall for f in (frame, twice))
    assert two.value == pytest.approx(one.value)
    ratio = (two.high - two.low) / (one.high - one.low)
    assert ratio == pytest.approx(2**-0.5, abs=0.05)


def test_words_count_alike_whatever_their_concept() -> None:
    frame = study(seed=3)
    uneven = frame[(frame.concept != "star") | (frame.anchor == "zepu")]
    found = retention(uneven, "better").directions[PAIRS[0]]
    anchor, own, moved = (
        mean(uneven, source, transfer, "tiny_clip")
        for source, transfer in (
            ("anchor", "none"),
            ("tiny_clip", "none"),
            ("tiny_owlv2", "better"),
        )
    )
    assert found.value == pytest.approx((moved - anchor) / (own - anchor))
    assert found.value == pytest.approx(float(np.median(found.draws)), abs=0.02)


def test_a_paired_difference_is_tighter_than_its_parts() -> None:
    frame = study(seed=1)
    same = frame[frame["transfer"] == "better"].assign(transfer="shifted")
    same["value"] -= 0.1
    both = pd.concat([frame, same], ignore_index=True)
    better, shifted = (retention(both, method).overall for method in ("better", "shifted"))
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
    assert found.overall.value == pytest.approx(1)
    assert set(found.directions) == {("name", target) for target in METRIC}


def test_where_training_gains_next_to_nothing_there_is_nothing_to_keep() -> None:
    frame = study(datasets=2)
    useless = (frame["dataset"] == "d0") & (frame["source_model"] == "tiny_clip")
    useless &= frame["target_model"] == "tiny_clip"
    frame.loc[useless, "value"] = 0.15
    found = retention(frame, "better", resamples=50)
    rest = retention(frame[frame.dataset == "d1"], "better", resamples=50)
    pair = ("tiny_owlv2", "tiny_clip")
    assert found.directions[pair].value == pytest.approx(rest.directions[pair].value)
    assert (found.defined, found.undefined) == (3, [(*pair, "d0")])
    small = gains(frame).query("gain < 0.1")
    assert small[["dataset", "target_model"]].to_numpy().tolist() == [["d0", "tiny_clip"]]
    nothing = retention(frame[frame.dataset == "d0"], "better", resamples=50)
    assert math.isnan(nothing.directions[pair].value)
    assert math.isnan(nothing.directions[pair].low)
    assert nothing.overall.value == nothing.directions["tiny_clip", "tiny_owlv2"].value


def test_a_resample_in_which_training_gains_next_to_nothing_is_left_out_of_the_interval() -> None:
    frame = study()
    own = (frame["source_model"] == "tiny_clip") & (frame["target_model"] == "tiny_clip")
    frame.loc[own & (frame["concept"] != "star"), "value"] = 0.1
    found = retention(frame, "better").directions["tiny_owlv2", "tiny_clip"]
    assert math.isfinite(found.value)
    assert np.isnan(found.draws).any()
    assert found.high <= np.nanmax(found.draws)


def test_words_of_a_delta_are_held_against_those_of_the_same_delta() -> None:
    frame = study()
    words = frame[frame["kind"] == "word"]
    within = words.assign(delta=0.5, value=words["value"] - 0.2)
    both = pd.concat([frame, within], ignore_index=True)
    alone = pd.concat([frame[frame["kind"] == "anchor"], within], ignore_index=True)
    free, held = (
        retention(both, "better", delta, resamples=50).overall.value for delta in (math.inf, 0.5)
    )
    assert free == retention(frame, "better", resamples=50).overall.value
    assert held == retention(alone, "better", 0.5, resamples=50).overall.value
    assert held < free


def test_a_failed_word_is_left_out_and_the_others_stand() -> None:
    frame = study()
    frame.loc[frame[frame["transfer"] == "better"].index[0], "value"] = math.nan
    found = retention(frame, "better", resamples=50)
    assert found.defined == 2


def test_words_in_balls_and_other_metrics_are_not_counted() -> None:
    frame = study()
    other = [frame.assign(delta=0.5, value=0.0), frame.assign(metric="another", value=0.0)]
    mixed = pd.concat([frame, *other], ignore_index=True)
    found = [retention(f, "better", resamples=20).overall.value for f in (mixed, frame)]
    assert found[0] == found[1]


def test_a_task_of_the_users_own_counts_with_its_first_metric_by_name() -> None:
    frame = study()
    own = frame.assign(
        target_task=frame["target_task"].replace("classification", "captioning"),
        metric=frame["metric"].replace("classifier_balanced_accuracy", "captions_told"),
    )
    other = own[own.metric == "captions_told"].assign(metric="letters_told", value=0.0)
    mixed = pd.concat([own, other], ignore_index=True)
    found = [retention(f, "better", resamples=20).overall.value for f in (mixed, frame)]
    assert found[0] == found[1]


def test_retention_is_undefined_where_anchors_or_the_targets_own_words_were_not_measured() -> None:
    frame = study()
    no_anchor = retention(frame[frame["kind"] != "anchor"], "better", resamples=5)
    assert len(no_anchor.undefined) == 2
    assert math.isnan(no_anchor.overall.value)
    own = (frame["source_model"] == "tiny_clip") & (frame["target_model"] == "tiny_clip")
    assert retention(frame[~own], "better", resamples=5).undefined == [(*PAIRS[0], "d0")]


def test_without_the_anchor_it_is_the_ratio_that_the_paper_allows() -> None:
    frame = study()
    found = retention(frame, "better", over_anchor=False, unit="word", resamples=50)
    share = mean(frame, "tiny_owlv2", "better", "tiny_clip")
    share /= mean(frame, "tiny_clip", "none", "tiny_clip")
    assert found.directions["tiny_owlv2", "tiny_clip"].value == pytest.approx(share)
    no_anchor = retention(frame[frame["kind"] != "anchor"], "better", over_anchor=False)
    assert no_anchor.overall.value == found.overall.value


def test_what_words_of_a_delta_reach_is_a_share_of_the_same_words_unconstrained() -> None:
    frame = fabricated(deltas=[0.5], words=10, words_at_deltas=4)
    held = frame["anchor"].isin([f"anchor_{i}" for i in range(4)])
    shares = []
    for model in MODELS:
        own = frame[held & (frame["source_model"] == model) & (frame["target_model"] == model)]
        metric = {"tiny_sd": "generation_accuracy", **METRIC}[model]
        level = own[own["metric"] == metric].groupby("delta")["value"].mean()
        shares.append(level[0.5] / level[math.inf])
    found = reached(frame, 0.5, resamples=50)
    assert found.value == pytest.approx(np.mean(shares))
    assert found.low < found.value < found.high
    assert math.isnan(reached(frame, 0.1).value)

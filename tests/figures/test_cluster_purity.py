"""Cluster purity, against loops written out and points whose answer is known."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from vwtransfer.analysis.cluster_purity import FEWEST, chance_of_purity, purity, silhouette, t_sne

LABELS = ["a", "a", "a", "b", "b", "c"]


def points(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(LABELS), 5))


def purity_of(place: int, points_ND: np.ndarray) -> float:
    """The share of the k nearest that have the same label, written out."""
    k = LABELS.count(LABELS[place]) - 1
    distances = sorted(
        (float(np.sqrt(((points_ND[place] - other) ** 2).sum())), i)
        for i, other in enumerate(points_ND)
        if i != place
    )
    return sum(LABELS[i] == LABELS[place] for _, i in distances[:k]) / k


def test_purity_is_the_share_of_nearest_neighbours_with_the_label() -> None:
    found = purity(points(), LABELS)
    assert found[:5] == pytest.approx([purity_of(place, points()) for place in range(5)])
    assert np.isnan(found[5])  # nobody else is a c


def test_clusters_are_pure_and_points_that_know_nothing_are_as_good_as_chance() -> None:
    corners = np.repeat(np.eye(10), 10, axis=0)
    labels = [f"label_{i}" for i in range(10) for _ in range(10)]
    noise = np.random.default_rng(0).normal(size=(100, 10))
    assert purity(corners + 0.01 * noise, labels).mean() == 1
    assert chance_of_purity(labels) == pytest.approx(9 / 99)
    found = [
        purity(np.random.default_rng(seed).normal(size=(100, 8)), labels).mean()
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(9 / 99, abs=0.01)


def test_silhouette_is_that_of_scikit_learn_where_a_label_is_shared() -> None:
    labels = LABELS[:5]
    assert silhouette(points()[:5], labels).mean() == pytest.approx(
        silhouette_score(points()[:5], labels)
    )
    assert np.isnan(silhouette(points(), LABELS)[5])
    for nothing_to_compare in (["a"] * 6, list("abcdef")):
        assert np.isnan(silhouette(points(), nothing_to_compare)).all()


def test_a_map_is_the_same_each_time_and_too_few_words_have_none() -> None:
    many = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_array_equal(t_sne(many, 0), t_sne(many, 0))
    assert np.isfinite(t_sne(many[:FEWEST], 0)).all()
    assert np.isnan(t_sne(many[: FEWEST - 1], 0)).all()

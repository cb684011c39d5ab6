"""The delta ball of section 5."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadratic import Quadratic
from vwtransfer.config.models import Training
from vwtransfer.training import projection
from vwtransfer.training.word_batches import radii
from vwtransfer.words.cells import Cell


def test_a_radius_is_delta_times_the_distance_to_the_nearest_other_token() -> None:
    model = Quadratic(Training(0.1, 1, 1), torch.device("cpu"))
    table = model.text.anchor_rows(["red", "star", "mipo"])
    nearest = min((table[0] - table[n]).norm().item() for n in (1, 2))
    cells = [Cell("world", "quadratic_model", "c", "red", delta, 0) for delta in (0.5, math.inf)]
    assert radii(cells, model.text).tolist() == [[pytest.approx(0.5 * nearest)], [math.inf]]


def test_each_encoder_has_a_ball_of_its_own() -> None:
    centre = torch.zeros(1, 5)
    words = torch.full((1, 1, 5), 3.0)
    slices = [slice(0, 2), slice(2, 5)]
    projected = projection.project(words, centre, torch.tensor([[1.0, math.inf]]), slices)
    assert projected[0, 0, :2].norm().item() == pytest.approx(1.0)
    assert projected[0, 0, 2:].tolist() == [3.0, 3.0, 3.0]


@given(st.integers(0, 10_000), st.floats(0.01, 10))
def test_projection_is_the_nearest_point_of_the_ball(seed: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, 4, 5, generator=generator).double()
    centre = torch.randn(3, 5, generator=generator).double()
    radius_N = torch.full((3,), radius, dtype=torch.float64)
    projected = projection.project(vectors, centre, radius_N[:, None], [slice(0, 5)]).numpy()
    for n in range(3):
        for k in range(4):
            offset = vectors[n, k].numpy() - centre[n].numpy()
            length = np.linalg.norm(offset)
            expected = centre[n].numpy() + offset * min(1.0, radius / length)
            np.testing.assert_allclose(projected[n, k], expected, rtol=1e-9, atol=1e-12)


def test_projection_leaves_unconstrained_words_alone_to_the_bit() -> None:
    vectors, centre = torch.randn(2, 4, 5), torch.randn(2, 5)
    projected = projection.project(
        vectors, centre, torch.tensor([[math.inf], [math.inf]]), [slice(0, 5)]
    )
    assert torch.equal(projected, vectors)


def test_a_vector_at_its_anchor_stays_there() -> None:
    centre = torch.randn(1, 5)
    vectors = centre[:, None].repeat(1, 4, 1)
    assert torch.equal(
        projection.project(vectors, centre, torch.tensor([[0.1]]), [slice(0, 5)]), vectors
    )

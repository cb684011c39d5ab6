"""The delta ball of section 5."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vwtransfer.training import projection


def test_radius_is_delta_times_the_distance_to_the_nearest_other_word() -> None:
    support = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    assert projection.radius(support[0], support, 0.5) == pytest.approx(1.0)


def test_radius_is_infinite_when_unconstrained() -> None:
    support = torch.randn(5, 3)
    assert projection.radius(support[0], support, math.inf) == math.inf


@given(st.integers(0, 10_000), st.floats(0.01, 10))
def test_projection_is_the_nearest_point_of_the_ball(seed: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, 4, 5, generator=generator).double()
    centre = torch.randn(3, 5, generator=generator).double()
    radii = torch.full((3,), radius, dtype=torch.float64)
    projected = projection.project(vectors, centre, radii).numpy()
    for n in range(3):
        for k in range(4):
            offset = vectors[n, k].numpy() - centre[n].numpy()
            length = np.linalg.norm(offset)
            expected = centre[n].numpy() + offset * min(1.0, radius / length)
            np.testing.assert_allclose(projected[n, k], expected, rtol=1e-9, atol=1e-12)


def test_projection_leaves_unconstrained_words_alone_to_the_bit() -> None:
    vectors, centre = torch.randn(2, 4, 5), torch.randn(2, 5)
    projected = projection.project(vectors, centre, torch.tensor([math.inf, math.inf]))
    assert torch.equal(projected, vectors)


def test_a_vector_at_its_anchor_stays_there() -> None:
    centre = torch.randn(1, 5)
    vectors = centre[:, None].repeat(1, 4, 1)
    assert torch.equal(projection.project(vectors, centre, torch.tensor([0.1])), vectors)

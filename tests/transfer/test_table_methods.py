"""Maps between embedding tables do what their papers say, on tables whose relation is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from sklearn.linear_model import LinearRegression
from torch import Tensor
from toy import NAMES, WORDS, encoder, shared, table

from vwtransfer.config.renamed import CHOICES
from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.transfer import Transfer
from vwtransfer.transfer.affine import Affine
from vwtransfer.transfer.anchor_residual import AnchorResidual
from vwtransfer.transfer.canonical_correlation import CanonicalCorrelation, canonical
from vwtransfer.transfer.functional_map import FunctionalMap
from vwtransfer.transfer.inverse_relative import InverseRelative
from vwtransfer.transfer.least_squares import LeastSquares
from vwtransfer.transfer.local_linear import LocalLinear
from vwtransfer.transfer.matching_pursuit import MatchingPursuit
from vwtransfer.transfer.mini_vec2vec import MiniVec2Vec
from vwtransfer.transfer.nearest_words import NearestWords
from vwtransfer.transfer.perceptron import Perceptron
from vwtransfer.transfer.procrustes import Procrustes
from vwtransfer.transfer.relative import Relative
from vwtransfer.transfer.ridge import Ridge
from vwtransfer.transfer.subset import Subset

METHODS: list[Any] = [
    Affine(),
    Ridge(),
    Procrustes(),
    Procrustes(width="pca"),
    CanonicalCorrelation(),
    FunctionalMap(functions=10),
    InverseRelative(),
    LocalLinear(neighbours=20),
    MatchingPursuit(),
    MiniVec2Vec(clusters=5, fine_clusters=8, runs=1, rounds=2),
    NearestWords(),
    Perceptron(hidden=16),
    Relative(steps=30),
    Subset("whole", whole_words=True),
]


def words(count: int, width: int, seed: int = 9) -> Tensor:
    return torch.randn(count, 4, width, generator=torch.Generator().manual_seed(seed))


def fit(method: Transfer, source: EmbeddingSpace, target: EmbeddingSpace) -> Any:
    return method.fit(source, target, shared(source, target))


def mapped(method: Transfer, y_SD: np.ndarray, x_SD: np.ndarray, vectors_NKD: Tensor) -> Tensor:
    fitted: Tensor = fit(method, encoder(y_SD), encoder(x_SD))(vectors_NKD)
    return fitted


def error(method: Transfer, y_SD: np.ndarray, x_SD: np.ndarray, known_DD: np.ndarray) -> float:
    """Mean square error on words that were not fitted on."""
    vectors_NKD = words(50, y_SD.shape[1])
    expected = vectors_NKD.double() @ torch.from_numpy(known_DD).double()
    return float((mapped(method, y_SD, x_SD, vectors_NKD) - expected).square().mean())


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name}-{getattr(m, 'width', '')}")
def test_a_word_is_mapped_alike_alone_and_among_others(method: Transfer) -> None:
    fitted = fit(method, encoder(table(12, 0)), encoder(table(7, 1)))
    vectors_NKD = words(5, 12)
    together_NKD = fitted(vectors_NKD)
    assert together_NKD.shape == (5, 4, 7)
    assert together_NKD.dtype == torch.float32
    alone_KD = fitted(vectors_NKD[3:4])[0]
    torch.testing.assert_close(together_NKD[3], alone_KD, rtol=1e-4, atol=1e-4)
    assert fitted.report["tokens"] == len(WORDS)


def test_an_intercept_is_found() -> None:
    y_SD, known_DD = table(9, 0), table(5, 1, words=9)
    x_SD = y_SD @ known_DD + np.arange(5, dtype=np.float32)
    vectors_NKD = words(3, 9)
    expected_NKD = vectors_NKD @ torch.from_numpy(known_DD) + torch.arange(5)
    for method in (Affine(), Ridge(), CanonicalCorrelation()):
        torch.testing.assert_close(
            mapped(method, y_SD, x_SD, vectors_NKD), expected_NKD, rtol=1e-3, atol=1e-3
        )
    assert not torch.allclose(mapped(LeastSquares(), y_SD, x_SD, vectors_NKD), expected_NKD, 0.1)


def test_ridge_does_better_than_least_squares_where_words_are_few_and_noisy() -> None:
    y_SD, known_DD = table(60, 0), table(6, 1, words=60) / 16
    x_SD = (y_SD @ known_DD + 2 * table(6, 2)).astype(np.float32)
    ridge, plain = (error(m, y_SD, x_SD, known_DD) for m in (Ridge(), Affine()))
    assert ridge < 0.5 * plain


@pytest.mark.parametrize("width", ["pad", "pca"])
def test_procrustes_finds_a_rotation_and_its_scale(width: Any) -> None:
    y_SD = table(8, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    x_SD = (2.5 * y_SD @ rotation + 1).astype(np.float32)
    vectors_NKD = words(3, 8)
    expected_NKD = 2.5 * vectors_NKD.double() @ torch.from_numpy(rotation) + 1
    mapped_NKD = mapped(Procrustes(width=width), y_SD, x_SD, vectors_NKD)
    torch.testing.assert_close(mapped_NKD.double(), expected_NKD, rtol=1e-3, atol=1e-3)


def test_procrustes_keeps_angles_between_tables_of_unequal_width() -> None:
    vectors_NKD = words(4, 6)
    fitted = fit(Procrustes(), encoder(table(6, 0)), encoder(table(10, 1)))
    gram = fitted.matrix @ fitted.matrix.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(6), atol=1e-12 * gram[0, 0])
    assert fitted(vectors_NKD).shape == (4, 4, 10)


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'pad'"):
        Procrustes(width="padd")  # type: ignore[arg-type]


def test_all_canonical_variates_are_least_squares_with_an_intercept() -> None:
    y_SD, x_SD = table(9, 0).astype(float), table(5, 1).astype(float)
    variates = canonical(y_SD, x_SD)
    (matrix, offset), correlation = variates.regression(5), variates.correlation_C
    theirs = LinearRegression().fit(y_SD, x_SD)
    np.testing.assert_allclose(matrix, theirs.coef_.T, atol=1e-12)
    np.testing.assert_allclose(offset, theirs.intercept_, atol=1e-12)
    assert (np.diff(correlation) <= 0).all()
    assert correlation.max() <= 1 + 1e-12


def test_canonical_correlation_drops_what_the_tables_do_not_share() -> None:
    shared = table(3, 0)
    y_SD = np.concatenate([shared, table(30, 1)], axis=1)
    x_SD = np.concatenate([shared, table(30, 2)], axis=1)
    fitted = fit(CanonicalCorrelation(), encoder(y_SD), encoder(x_SD))
    assert fitted.report["variates"] <= 6
    assert fitted.report["least_correlation_kept"] > 0.5


def test_local_linear_follows_what_no_linear_map_can() -> None:
    angle_S = np.linspace(-1, 1, len(WORDS))
    y_SD = np.stack([angle_S, np.ones_like(angle_S)], axis=1).astype(np.float32)
    x_SD = np.stack([np.sin(6 * angle_S), np.cos(6 * angle_S)], axis=1).astype(np.float32)
    seen = torch.tensor([[[0.33, 1.0]]])
    expected = torch.tensor([[[np.sin(6 * 0.33), np.cos(6 * 0.33)]]])
    local = mapped(LocalLinear(neighbours=3), y_SD, x_SD, seen)
    linear = mapped(LeastSquares(), y_SD, x_SD, seen)
    assert (local - expected).norm() < 0.02
    assert (linear - expected).norm() > 0.5


def test_a_vector_beside_a_word_becomes_that_word() -> None:
    y_SD, x_SD = table(12, 0), table(7, 1)
    near_NKD = torch.from_numpy(1.3 * y_SD[[3, 8, 21, 0]] + 0.01)[None]
    mapped_NKD = fit(NearestWords(), encoder(y_SD), encoder(x_SD))(near_NKD)
    torch.testing.assert_close(mapped_NKD[0], torch.from_numpy(x_SD[[3, 8, 21, 0]]))


def test_the_perceptron_learns_the_map_it_is_shown() -> None:
    y_SD, known_DD = table(6, 0), table(5, 1, words=6) / 3
    fitted = fit(Perceptron(decay=1e-3), encoder(y_SD), encoder(y_SD @ known_DD))
    assert fitted.report["r2"] > 0.9


def test_relative_representations_undo_a_rotation_of_the_space() -> None:
    y_SD = table(8, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    vectors_NKD = words(3, 8)
    mapped_NKD = mapped(Relative(), y_SD, (y_SD @ rotation).astype(np.float32), vectors_NKD)
    expected_NKD = vectors_NKD.double() @ torch.from_numpy(rotation)
    cosine = torch.nn.functional.cosine_similarity(mapped_NKD.double(), expected_NKD, dim=-1)
    assert cosine.median() > 0.9


@pytest.mark.parametrize("method", [InverseRelative(), FunctionalMap(functions=20)])
def test_a_rotation_is_found(method: Transfer) -> None:
    y_SD = table(8, 0)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))
    fitted = fit(method, encoder(y_SD), encoder((y_SD @ rotation).astype(np.float32)))
    np.testing.assert_allclose(fitted.matrix, rotation, atol=1e-4)


def test_a_rotation_is_found_of_tokens_that_nobody_paired() -> None:
    rng = np.random.default_rng(0)
    y_SD = rng.normal(size=(6, 5))[rng.integers(6, size=400)] + 0.3 * rng.normal(size=(400, 5))
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    x_SD = (2 * y_SD @ rotation)[rng.permutation(400)]
    matrix, _, _ = MiniVec2Vec(clusters=6, fine_clusters=12, runs=3).regress(y_SD, x_SD)
    assert np.abs(matrix - 2 * rotation).max() < 0.2


def test_whitened_inner_products_with_all_tokens_are_the_affine_regression() -> None:
    y_SD, x_SD = (table(width, seed).astype(float) for width, seed in ((9, 0), (5, 1)))
    y, x = y_SD - y_SD.mean(axis=0), x_SD - x_SD.mean(axis=0)
    whitened_SS, of_x_DS = y @ np.linalg.inv(np.cov(y.T)) @ y.T, np.linalg.inv(np.cov(x.T)) @ x.T
    decoded_SD = whitened_SS @ np.linalg.pinv(of_x_DS)
    matrix, _, _ = Affine().regress(y_SD, x_SD)
    np.testing.assert_allclose(decoded_SD, y @ matrix, atol=1e-9)


def test_a_sum_of_few_tokens_is_the_same_sum_in_the_target() -> None:
    y_SD, x_SD = table(40, 0), table(7, 1)
    chosen, weight = [3, 8, 21], np.array([1.0, -0.7, 0.4], dtype=np.float32)
    vectors_NKD = torch.from_numpy(weight @ y_SD[chosen])[None, None]
    found_NKD = mapped(MatchingPursuit(atoms=3), y_SD, x_SD, vectors_NKD)
    expected_D = torch.from_numpy(weight @ x_SD[chosen])
    torch.testing.assert_close(found_NKD[0, 0], expected_D, atol=1e-4, rtol=1e-4)


def test_relative_vectors_have_the_mean_and_deviation_of_the_targets_table() -> None:
    x_SD = 3 + 0.2 * table(16, 1)
    mapped_NKD = mapped(Relative(steps=5), table(12, 0), x_SD, words(2, 12))
    np.testing.assert_allclose(mapped_NKD.mean(-1), x_SD.mean(), rtol=1e-4)
    np.testing.assert_allclose(mapped_NKD.std(-1), x_SD.std(ddof=1), rtol=1e-4)


def test_subsets_and_weights_are_of_the_words_they_name() -> None:
    known = [table(5, seed, words=9) for seed in (1, 2)]
    y_SD = table(9, 0)
    x_SD = np.concatenate([y_SD[:40] @ known[0], y_SD[40:] @ known[1]])
    first = fit(Subset("first", most_frequent=0.5), encoder(y_SD), encoder(x_SD))
    np.testing.assert_allclose(first.matrix, known[0], atol=1e-5)
    assert first.report["tokens"] == 40
    weighted = fit(Subset("weighted", weighting=3.0), encoder(y_SD), encoder(x_SD))
    plain = fit(LeastSquares(), encoder(y_SD), encoder(x_SD))
    off = [np.abs(fitted.matrix - known[0]).max() for fitted in (weighted, plain)]
    assert off[0] < 0.1 * off[1]


def test_pieces_of_words_are_left_out_where_whole_words_are_asked_for() -> None:
    pieces = [w if i % 2 else w.removesuffix("</w>") for i, w in enumerate(WORDS)]
    source, target = encoder(table(9, 0), words=pieces), encoder(table(5, 1), words=pieces)
    assert fit(Subset("w", whole_words=True), source, target).report["tokens"] == 40


def test_single_characters_do_not_pass_for_the_most_frequent_words() -> None:
    known = [table(5, seed, words=9) for seed in (1, 2)]
    y_SD = table(9, 0)
    x_SD = np.concatenate([y_SD[:40] @ known[0], y_SD[40:] @ known[1]])
    letters = [f"{chr(ord('A') + place)}</w>" for place in range(40)]
    source, target = (encoder(t, words=[*letters, *WORDS[40:]]) for t in (y_SD, x_SD))
    half = fit(Subset("half", most_frequent=0.5), source, target)
    np.testing.assert_allclose(half.matrix, known[1], atol=1e-5)


def test_an_anchor_is_mapped_to_the_targets_anchor_and_the_rest_by_least_squares() -> None:
    source, target = encoder(table(12, 0)), encoder(table(7, 1))
    linear = fit(LeastSquares(), source, target)
    residual = fit(AnchorResidual(), source, target)
    y_2D, x_2D = source.anchor_rows(NAMES[:2]), target.anchor_rows(NAMES[:2])
    at_anchor_NKD = residual(y_2D[:, None].expand(2, 4, -1), NAMES[:2])
    torch.testing.assert_close(at_anchor_NKD, x_2D[:, None].expand(2, 4, -1))
    learned_NKD = 0.1 * words(2, 12)
    found_NKD = residual(y_2D[:, None] + learned_NKD, NAMES[:2])
    torch.testing.assert_close(found_NKD - x_2D[:, None], linear(learned_NKD), atol=1e-5, rtol=1e-4)
    assert residual.report == linear.report


def test_a_word_without_a_known_anchor_has_no_residual() -> None:
    source, target = encoder(table(12, 0)), encoder(table(7, 1))
    with pytest.raises(UserError, match="anchor, which is not known"):
        fit(AnchorResidual(), source, target)(words(2, 12), None)


CONFIGS = sorted(Path("conf/transfer").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_names_a_method_by_its_own_name(path: Path) -> None:
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    node.pop("exclude", None)  # the study's, not the method's
    method = get_class(node.pop("_target_"))(**node)
    assert method.name == path.stem


def test_published_names_stand_for_methods_that_exist() -> None:
    names = {path.stem for path in CONFIGS}
    assert set(CHOICES["transfer"].values()) <= names
    assert not names & set(CHOICES["transfer"])

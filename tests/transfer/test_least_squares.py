"""The linear map between two embedding tables is found as numpy finds it, and kept."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import WORDS, encoder, shared, table

from vwtransfer.errors import UserError
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.least_squares import LeastSquares, least_squares
from vwtransfer.transfer.tables import AffineMap


def fit(
    source: EmbeddingSpace, target: EmbeddingSpace, count: int | None = None, **options: Any
) -> AffineMap:
    """The map fitted on the (first) tokens that both share."""
    return LeastSquares(**options).fit(source, target, shared(source, target, count))


def test_a_known_map_is_recovered_exactly() -> None:
    y_SD, known_DD = table(12, 0).astype(np.float64), np.random.default_rng(1).normal(size=(12, 7))
    matrix, report = least_squares(y_SD, y_SD @ known_DD)
    np.testing.assert_allclose(matrix, known_DD, atol=1e-13)
    assert report["r2"] == report["r2_uncentred"] == pytest.approx(1)
    assert report["residual_rms"] < 1e-13


def test_the_map_and_its_report_are_those_of_numpy() -> None:
    y_SD, x_SD = table(12, 0).astype(np.float64), table(7, 1).astype(np.float64)
    matrix, report = least_squares(y_SD, x_SD)
    theirs, squares, rank, singular_values = np.linalg.lstsq(y_SD, x_SD, rcond=None)
    np.testing.assert_allclose(matrix, theirs, atol=1e-13)
    assert (report["tokens"], report["source_width"], report["target_width"]) == (80, 12, 7)
    assert report["rank"] == rank
    assert report["condition_number"] == pytest.approx(singular_values[0] / singular_values[-1])
    assert report["residual_rms"] == pytest.approx(np.sqrt(squares.sum() / x_SD.size))
    assert report["target_rms"] == pytest.approx(np.sqrt(np.square(x_SD).mean()))
    assert report["r2"] == pytest.approx(1 - squares.sum() / (x_SD.var(axis=0).sum() * 80))
    assert report["r2_uncentred"] == pytest.approx(1 - squares.sum() / np.square(x_SD).sum())


def test_dimensions_that_the_words_do_not_span_are_mapped_to_zero() -> None:
    y_SD = table(12, 0).astype(np.float64)
    y_SD[:, -1] = y_SD[:, 0] - y_SD[:, 1]
    x_SD = table(7, 1).astype(np.float64)
    matrix, report = least_squares(y_SD, x_SD)
    assert report["rank"] == 11
    np.testing.assert_allclose(matrix, np.linalg.pinv(y_SD) @ x_SD, atol=1e-12)
    lost = np.zeros(12)
    lost[[0, 1, -1]] = 1, -1, -1
    np.testing.assert_allclose(lost @ matrix, 0, atol=1e-12)


def test_fewer_words_than_dimensions_give_the_map_of_least_norm() -> None:
    y_SD, x_SD = table(12, 0)[:5], table(7, 1)[:5]
    matrix, report = least_squares(y_SD, x_SD)
    assert report["rank"] == 5
    np.testing.assert_allclose(matrix, np.linalg.pinv(y_SD.astype(float)) @ x_SD, atol=1e-10)


def test_an_ill_conditioned_table_is_solved_where_the_normal_equations_fail() -> None:
    left, _ = np.linalg.qr(table(12, 0).astype(np.float64))
    right, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))
    y_SD = left @ np.diag(np.logspace(0, -9, 12)) @ right
    known_DD = np.random.default_rng(1).normal(size=(12, 7))
    matrix, report = least_squares(y_SD, y_SD @ known_DD)
    normal_equations = np.linalg.solve(y_SD.T @ y_SD, y_SD.T @ (y_SD @ known_DD))
    assert np.abs(matrix - known_DD).max() < 1e-5
    assert np.abs(normal_equations - known_DD).max() > 1e-2
    assert report["condition_number"] == pytest.approx(1e9, rel=1e-3)


def test_each_vector_of_a_word_is_mapped_and_keeps_its_precision() -> None:
    source, target = encoder(table(12, 0)), encoder(table(7, 1))
    fitted = fit(source, target)
    vectors_NKD = torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(0))
    mapped_NKD = fitted(vectors_NKD)
    assert mapped_NKD.shape == (3, 4, 7)
    assert mapped_NKD.dtype == torch.float32
    expected = np.einsum("nkd,de->nke", vectors_NKD.double().numpy(), fitted.matrix)
    np.testing.assert_allclose(mapped_NKD.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_neither_the_order_of_the_support_nor_of_the_vocabularies_matters() -> None:
    y_SD, x_SD = table(12, 0), table(7, 1)
    plain = fit(encoder(y_SD), encoder(x_SD))
    shuffled = np.random.default_rng(5).permutation(len(WORDS))
    source = encoder(y_SD)
    target = encoder(x_SD[shuffled], words=[WORDS[i] for i in shuffled])
    support = shared(source, target)
    mixed = LeastSquares().fit(source, target, support.only([*support.entries[::-1], WORDS[3]]))
    np.testing.assert_array_equal(plain.matrix, mixed.matrix)
    assert plain.report == mixed.report


def test_the_support_alone_enters_the_fit() -> None:
    y_SD, x_SD = table(12, 0), table(7, 1)
    fitted = fit(encoder(y_SD), encoder(x_SD), 40)
    np.testing.assert_allclose(fitted.matrix, least_squares(y_SD[:40], x_SD[:40])[0], atol=1e-12)
    assert fitted.report["tokens"] == 40


def test_a_kept_map_is_read_back_to_the_bit(tmp_path: Path) -> None:
    source, target = encoder(table(12, 0)), encoder(table(7, 1))
    computed = fit(source, target, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    kept = fit(source, target, folder=tmp_path)
    np.testing.assert_array_equal(kept.matrix, computed.matrix)
    assert kept.report == computed.report
    assert file.stat().st_mtime_ns == stamp


def test_other_tables_directions_and_supports_have_maps_of_their_own(tmp_path: Path) -> None:
    one, two, three = encoder(table(12, 0)), encoder(table(7, 1)), encoder(table(12, 2))
    for source, target, count in [(one, two, 80), (two, one, 80), (three, two, 80), (one, two, 50)]:
        fit(source, target, count, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut off", "flipped", "emptied"])
def test_a_damaged_file_is_noticed_and_the_map_fitted_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = encoder(table(12, 0)), encoder(table(7, 1))
    computed = fit(source, target, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 0x40]) + whole[-2:]
    file.write_bytes({"cut off": whole[:-20], "flipped": flipped, "emptied": b""}[damage])
    with caplog.at_level(logging.WARNING):
        again = fit(source, target, folder=tmp_path)
    np.testing.assert_array_equal(again.matrix, computed.matrix)
    assert file.name in caplog.text
    np.testing.assert_array_equal(fit(source, target, folder=tmp_path).matrix, computed.matrix)


def test_a_support_that_spans_too_little_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(encoder(table(12, 0)), encoder(table(7, 1)), 5)
    assert "5 support tokens span 5 of the source's 12 dimensions" in caplog.text


def test_a_support_token_that_a_model_lacks_is_named() -> None:
    source = encoder(table(12, 0))
    target = encoder(table(7, 1)[:50], words=WORDS[:50])
    with pytest.raises(UserError, match=rf"'{WORDS[50]}' is not in the vocabulary"):
        LeastSquares().fit(source, target, shared(source, source))


def test_an_empty_support_is_refused() -> None:
    with pytest.raises(UserError, match="share no token"):
        LeastSquares().fit(
            encoder(table(12, 0)), encoder(table(7, 1)), Support((), (), (), of_tokens=True)
        )


def test_a_table_with_a_broken_row_is_refused() -> None:
    broken = table(7, 1)
    broken[20, 3] = np.nan
    with pytest.raises(UserError, match=rf"target model's embeddings .* not finite: {WORDS[20]}"):
        fit(encoder(table(12, 0)), encoder(broken))

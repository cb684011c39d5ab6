"""The paper's transfer: a linear map between the embedding tables, by least squares (section 3).

Letters: S support, D embedding width.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vwtransfer.files import write_atomically
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.support import Support
from vwtransfer.transfer.tables import AffineMap, tables

FILE = "least_squares"  # what files of fitted maps begin with

log = logging.getLogger(__name__)


@dataclass
class LeastSquares:
    """T = argmin || Y T - X || over the support; rows y(w) of the source, x(w) of the target.

    Attributes:
        name: what the results call it.
        folder: where fitted maps are kept and found again by the identity of both tables and of
            the support; nothing is kept when null.
    """

    name: str = "least_squares"
    folder: str | Path | None = None

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> AffineMap:
        """Fits T, or reads it where it was fitted before; no prompt enters it.

        The order of the support makes no difference.

        Raises:
            UserError: see `tables.tables`.
        """
        if self.folder is None:
            return _fit(source, target, support)
        path = Path(self.folder) / f"{FILE}-{_identity(source, target, support)}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        fitted = _fit(source, target, support)
        write_atomically(path, lambda temporary: _save(fitted, temporary))
        return fitted


def least_squares(y_SD: np.ndarray, x_SD: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """T [D_source, D_target] that minimises || Y T - X ||, and a report of the fit.

    No intercept, float64. [Y X] is reduced to its triangular factor by Householder reflections and
    the small problem that is left is solved by singular values, so that Y'Y, whose condition is
    that of Y squared, never appears. Directions that Y does not span, to working precision, are
    mapped to zero (the solution of least norm).

    The report: `tokens`, `source_width`, `target_width`; `rank` of Y and its `condition_number`
    (largest singular value over the smallest that counts); `residual_rms` and `target_rms`, root
    mean square of Y T - X and of X over tokens and dimensions; `r2` = 1 - ||Y T - X||^2 /
    ||X - mean||^2 with the mean over tokens (centred), `r2_uncentred` with ||X||^2 instead.
    """
    y_SD, x_SD = np.asarray(y_SD, np.float64), np.asarray(x_SD, np.float64)
    (tokens, source_width), target_width = y_SD.shape, x_SD.shape[1]
    reduced = np.asarray(np.linalg.qr(np.concatenate([y_SD, x_SD], axis=1), mode="r"))
    left, right = np.split(reduced, [source_width], axis=1)
    precision = np.finfo(np.float64).eps * max(y_SD.shape)
    matrix, _, rank, singular_values = np.linalg.lstsq(left, right, rcond=precision)
    residual = float(np.square(y_SD @ matrix - x_SD).sum())
    centred = float(np.square(x_SD - x_SD.mean(axis=0)).sum())
    uncentred = float(np.square(x_SD).sum())
    report = {
        "tokens": tokens,
        "source_width": source_width,
        "target_width": target_width,
        "rank": int(rank),
        "condition_number": float(singular_values[0] / singular_values[rank - 1]) if rank else None,
        "r2": 1 - residual / centred if centred else None,
        "r2_uncentred": 1 - residual / uncentred if uncentred else None,
        "residual_rms": (residual / x_SD.size) ** 0.5,
        "target_rms": (uncentred / x_SD.size) ** 0.5,
    }
    return matrix, report


def _fit(source: EmbeddingSpace, target: EmbeddingSpace, support: Support) -> AffineMap:
    _, y_SD, x_SD = tables(source, target, support)
    matrix, report = least_squares(y_SD, x_SD)
    if report["rank"] < report["source_width"]:
        log.warning(
            "transfer: %d support tokens span %d of the source's %d dimensions; the others are "
            "mapped to zero.",
            report["tokens"],
            report["rank"],
            report["source_width"],
        )
    return AffineMap(matrix, None, report)


def _identity(source: EmbeddingSpace, target: EmbeddingSpace, support: Support) -> str:
    """What a fit depends on, as a hash."""
    entries = support.sorted().entries
    what = json.dumps(["least_squares", source.identity, target.identity, list(entries)])
    return hashlib.sha256(what.encode()).hexdigest()[:32]


def _save(fitted: AffineMap, path: Path) -> None:
    # safetensors keeps no checksum, and a flipped bit in a map would pass for a result
    metadata = {
        "report": json.dumps(fitted.report),
        "sha256": hashlib.sha256(fitted.matrix.tobytes()).hexdigest(),
    }
    save_file({"matrix": fitted.matrix}, path, metadata=metadata)


def _read(path: Path) -> AffineMap | None:
    """The map kept at `path`, or None when there is none or it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            matrix, metadata = file.get_tensor("matrix"), file.metadata()
        if hashlib.sha256(matrix.tobytes()).hexdigest() == metadata["sha256"]:
            return AffineMap(matrix, None, json.loads(metadata["report"]))
    except (SafetensorError, KeyError, TypeError, ValueError):
        pass
    log.warning("transfer: %s is damaged; the map is fitted again.", path)
    return None

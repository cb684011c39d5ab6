"""Whether the boxes of a turned photo are of its pixels as stored, or as viewers show them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vwtransfer.datasets import Box
from vwtransfer.datasets.annotation import Annotation, Candidate, Candidates
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.boxes import Size, fitted
from vwtransfer.datasets.images import Stored, examine
from vwtransfer.errors import UserError


def is_upright(annotation: Annotation, stored: Stored, displayed: bool) -> bool:
    """Whether boxes are of the image as a viewer turns it, rather than of the stored pixels."""
    if annotation.size is None:
        return displayed
    fits_stored = annotation.size == stored.size
    fits_upright = annotation.size == stored.upright_size
    if not fits_stored and not fits_upright:
        stated = " x ".join(map(str, annotation.size))
        real = " x ".join(map(str, stored.size))
        raise UnusableError(f"annotated at {stated} pixels, but the image has {real}")
    return displayed if fits_stored and fits_upright else fits_upright


def are_upright(name: str, folders: Mapping[str, Path], candidates: Candidates) -> bool:
    """Whether the boxes are of upright photos, although the stored size is stated beside them.

    So some exporters write. Where some of the boxes fit nothing else, all are read so.

    Raises:
        UserError: others fit nothing but the stored photo.
    """
    upright = next(_turned_photos(candidates, folders, 1), None)
    stored = next(_turned_photos(candidates, folders, -1), None) if upright else None
    if upright and stored:
        raise UserError(
            f"dataset.{name}: the boxes of {upright} only fit the upright photo, those of "
            f"{stored} only the stored one. State the width and height that each has boxes of."
        )
    return upright is not None


def _turned_photos(candidates: Candidates, folders: Mapping[str, Path], way: int) -> Iterator[str]:
    """Those of `of_one_frame` that are turned, and annotated at their stored size."""
    for each in of_one_frame(candidates, way):
        try:
            stored = examine(path_inside(folders[each.folder], each.file))
        except UnusableError:
            continue
        assert isinstance(each.annotation, Annotation)
        if stored.orientation >= 5 and stored.size == each.annotation.size:
            yield each.file


def of_one_frame(candidates: Candidates, way: int) -> Iterator[Candidate]:
    """Images with a box that only fits one of the two frames that a turned photo has.

    Args:
        candidates: all images.
        way: 1 for a box that only fits the upright photo, -1 for one that only fits the stored.
    """
    pools = (candidates.training, candidates.held_out or {})
    for each in (each for pool in pools for same in pool.values() for each in same):
        found = each.annotation
        if not isinstance(found, Annotation) or found.size is None:
            continue
        frames = (found.size, found.size[::-1])[::way]
        if any(
            not _fits(one.box, frames[0]) and _fits(one.box, frames[1]) for one in found.objects
        ):
            yield each


def _fits(box: Box, size: Size) -> bool:
    try:
        fitted(box, size)
    except UnusableError:
        return False
    return True

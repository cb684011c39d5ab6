"""Boxes (x0, y0, x1, y1): edges in pixels, from the image's top left corner, y downwards.

A box that covers the whole of a W x H image is (0, 0, W, H).
"""

import math

from vwtransfer.datasets import Box
from vwtransfer.datasets.bad_data import UnusableError

Size = tuple[int, int]

ROUNDING = 1.0
"""Pixels by which annotators' rounding takes boxes over the edge; such boxes are cut there."""


def from_corners(xmin: float, ymin: float, xmax: float, ymax: float) -> Box:
    """The box of PASCAL VOC: the first and the last pixel that belong to it, counted from 1."""
    return (xmin - 1, ymin - 1, xmax, ymax)


def from_width(x: float, y: float, width: float, height: float) -> Box:
    """The box of COCO: its top left corner, counted from 0, width and height."""
    return (x, y, x + width, y + height)


def area(box: Box) -> float:
    """Square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


NO_BOX = (math.nan,) * 4
"""Of an object for which an annotation states none."""


def refuse_no_box(box: Box) -> None:
    """Refuses what is no box in any image.

    Raises:
        UnusableError: it is not made of finite numbers, or has no area.
    """
    shown = ", ".join(f"{value:g}" for value in box)
    if all(map(math.isnan, box)):
        raise UnusableError("its box is missing or not made of finite numbers")
    if not all(map(math.isfinite, box)):
        raise UnusableError(f"box ({shown}) is not made of finite numbers")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UnusableError(f"box ({shown}) has no area")


def fitted(box: Box, size: Size) -> Box:
    """`box` inside an image of `size` (width, height).

    Raises:
        UnusableError: it is not made of finite numbers, has no area, or reaches out of the image by
            more than `ROUNDING`.
    """
    refuse_no_box(box)
    shown = ", ".join(f"{value:g}" for value in box)
    x0, y0, x1, y1 = box
    width, height = size
    if min(x0, y0) < -ROUNDING or x1 > width + ROUNDING or y1 > height + ROUNDING:
        raise UnusableError(f"box ({shown}) reaches out of the image of {width} x {height} pixels")
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise UnusableError(f"box ({shown}) has no area")
    return inside


def turned(box: Box, size: Size, orientation: int) -> Box:
    """Where `box` lies once the image is turned upright.

    Args:
        box: in the image as it is stored.
        size: (width, height) as stored.
        orientation: EXIF's, 1 to 8.
    """
    W, H = size
    moved = []
    for x, y in (box[:2], box[2:]):
        x = W - x if orientation in (2, 3, 7, 8) else x
        y = H - y if orientation in (3, 4, 6, 7) else y
        moved.append((y, x) if orientation >= 5 else (x, y))
    (ax, ay), (bx, by) = moved
    return (min(ax, bx), min(ay, by), max(ax, bx), max(ay, by))

"""Draws scenes of the tiny world from signed-distance functions.

Letters of shapes: B scenes, C colour channels, H and W the frame's height and width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from vwtransfer.tinyworld.world import BACKGROUNDS, COLOURS, FRAME, Combination, Scene, Thing

OUTLINE = 1.5  # width of the dark rim, in pixels
SHADING = 0.12
GRAIN = 0.012
PALE = 0.88  # how far a pattern's second tone lies towards white
REMEMBERED = 2048  # scenes whose drawing is kept, at 20 kB: a study looks at each several times

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """Drawn scenes.

    Attributes:
        images_BCHW: uint8.
        boxes: for each scene the boxes (x0, y0, x1, y1) of its things, tight around the pixels
            of which a thing covers more than half.
        covered_BHW: these pixels, of all things.
    """

    images_BCHW: Tensor
    boxes: list[list[Box]]
    covered_BHW: Tensor


def render(scenes: Sequence[Scene]) -> Drawing:
    """Draws scenes."""
    axis = torch.arange(FRAME, dtype=torch.float32) + 0.5
    images_BCHW = _backgrounds(scenes, axis)
    boxes: list[list[Box]] = [[] for _ in scenes]
    covered_BHW = torch.zeros(len(scenes), FRAME, FRAME, dtype=torch.bool)
    for slot in range(max(len(scene.things) for scene in scenes)):
        drawn = [i for i, scene in enumerate(scenes) if len(scene.things) > slot]
        things = [scenes[i].things[slot] for i in drawn]
        lights = torch.tensor([scenes[i].light for i in drawn])
        cover_BHW, paint_BCHW = _paint(things, lights, axis)
        rows = torch.tensor(drawn)
        under_BCHW = images_BCHW[rows]
        images_BCHW[rows] = under_BCHW + cover_BHW[:, None] * (paint_BCHW - under_BCHW)
        covered_BHW[rows] |= cover_BHW > 0.5
        for i, box in zip(drawn, _boxes(cover_BHW > 0.5), strict=True):
            boxes[i].append(box)
    for image_CHW, scene in zip(images_BCHW, scenes, strict=True):
        generator = torch.Generator().manual_seed(scene.grain)
        image_CHW += GRAIN * torch.randn(image_CHW.shape, generator=generator)
    bytes_BCHW = (images_BCHW.clamp(0, 1) * 255).round().to(torch.uint8)
    return Drawing(bytes_BCHW, boxes, covered_BHW)


def render_image(scene: Scene) -> Image.Image:
    """Draws one scene as an RGB image."""
    return Image.fromarray(_drawn(scene).images_BCHW[0].permute(1, 2, 0).contiguous().numpy())


def main_box(scene: Scene) -> Box:
    """The box of a scene's main thing."""
    return _drawn(scene).boxes[0][0]


@lru_cache(REMEMBERED)
def _drawn(scene: Scene) -> Drawing:
    return render([scene])


def _backgrounds(scenes: Sequence[Scene], axis: Tensor) -> Tensor:
    """Backgrounds with a faint gradient along the light, B C H W."""
    tones_BC = torch.tensor([BACKGROUNDS[scene.background] for scene in scenes])
    light_B = torch.tensor([scene.light for scene in scenes])
    centred = axis / FRAME - 0.5
    slope_BHW = (
        light_B.cos()[:, None, None] * centred[None, None, :]
        + light_B.sin()[:, None, None] * centred[None, :, None]
    )
    return tones_BC[:, :, None, None] + SHADING * slope_BHW[:, None]


def _paint(things: Sequence[Thing], light_B: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each pixel a thing covers, B H W, and its paint there, B C H W."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values)[:, None, None]

    radius = column([t.radius for t in things])
    cosine = column([math.cos(t.tilt) for t in things])
    sine = column([math.sin(t.tilt) for t in things])
    dx = (axis[None, None, :] - column([t.x for t in things])) / radius
    dy = (axis[None, :, None] - column([t.y for t in things])) / radius
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine

    distance = _distances([t.combination for t in things], u, v)
    colour_BC = torch.tensor([COLOURS[t.combination.colour] for t in things])
    pitch = torch.ones_like(radius)
    for i, subject in ((i, t.subject) for i, t in enumerate(things) if t.subject is not None):
        other = _distances([subject.towards], u[[i]], v[[i]])[0]
        distance[i] = distance[i].lerp(other, subject.share)
        colour_BC[i] = colour_BC[i].lerp(
            torch.tensor(COLOURS[subject.towards.colour]), subject.share
        )
        pitch[i] = subject.pitch
    distance *= radius
    pale = torch.zeros_like(distance)
    for pattern, tone in _TONES.items():
        at = [i for i, t in enumerate(things) if t.combination.pattern == pattern]
        if at:
            towards_BHW = tone(u[at] / pitch[at], v[at] / pitch[at]) * pitch[at]
            pale[at] = (0.5 - towards_BHW * radius[at]).clamp(0, 1)

    paint = colour_BC[:, :, None, None] * (1 - PALE * pale[:, None]) + PALE * pale[:, None]
    light = light_B[:, None, None]
    paint = paint * (1 + SHADING * (u * light.cos() + v * light.sin()))[:, None]
    rim = (0.5 + distance + OUTLINE).clamp(0, 1)[:, None]
    paint = paint + rim * (0.25 * colour_BC[:, :, None, None] - paint)
    return (0.5 - distance).clamp(0, 1), paint


def _distances(looks: Sequence[Combination], u_BHW: Tensor, v_BHW: Tensor) -> Tensor:
    """Signed distances to the outlines of things [B, H, W], in units of their radius."""
    distance_BHW = torch.empty(len(looks), FRAME, FRAME)
    for shape, inside in _DISTANCES.items():
        at = [i for i, each in enumerate(looks) if each.shape == shape]
        if at:
            distance_BHW[at] = inside(u_BHW[at], v_BHW[at])
    return distance_BHW


def _boxes(masks_BHW: Tensor) -> list[Box]:
    """The tight box around each mask's pixels."""
    boxes = []
    for mask_HW in masks_BHW:
        columns = mask_HW.any(0).nonzero()
        rows = mask_HW.any(1).nonzero()
        boxes.append(
            (
                float(columns[0]),
                float(rows[0]),
                float(columns[-1]) + 1,
                float(rows[-1]) + 1,
            )
        )
    return boxes


# Signed distances, negative inside, in units of the thing's radius; v points down.


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    v = v - 0.2
    return torch.maximum(v - 0.55, u.abs() * 0.866 - v * 0.5 - 0.55)


def _star(u: Tensor, v: Tensor) -> Tensor:
    sector = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(u, -v) + sector / 2, sector) - sector / 2
    length = (u * u + v * v).sqrt()
    along, across = length * angle.cos(), (length * angle.sin()).abs()
    inner = (0.52 * math.cos(sector / 2), 0.52 * math.sin(sector / 2))
    edge = (inner[0] - 1.0, inner[1])
    scale = math.hypot(*edge)
    return ((along - 1.0) * edge[1] - across * edge[0]) / scale


def _cross(u: Tensor, v: Tensor) -> Tensor:
    arm, width = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
    return torch.maximum(arm - 0.92, width - 0.32)


def _heart(u: Tensor, v: Tensor) -> Tensor:
    # A square standing on its corner, with a disc on each of its upper edges.
    side, v = 0.54, v + 0.08
    a, b = (u + v) * math.sqrt(0.5), (v - u) * math.sqrt(0.5)
    square = torch.maximum(a.abs(), b.abs())
    left, right = ((a + side) ** 2 + b * b).sqrt(), (a * a + (b + side) ** 2).sqrt()
    return torch.minimum(square, torch.minimum(left, right)) - side


def _moon(u: Tensor, v: Tensor) -> Tensor:
    bite = ((u - 0.5) ** 2 + v * v).sqrt()
    return torch.maximum((u * u + v * v).sqrt() - 0.95, 0.7 - bite)


def _hexagon(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.maximum(u * 0.866 + v * 0.5, v) - 0.8


def _arrow(u: Tensor, v: Tensor) -> Tensor:
    head = torch.maximum(u.abs() * 0.76 - (v + 0.95) * 0.65, v + 0.05)
    shaft = torch.maximum(u.abs() - 0.24, (v - 0.43).abs() - 0.5)
    return torch.minimum(head, shaft)


def _drop(u: Tensor, v: Tensor) -> Tensor:
    disc = (u * u + (v - 0.32) ** 2).sqrt() - 0.6
    tip = torch.maximum(u.abs() * 0.89 - (v + 0.96) * 0.46, v - 0.05)
    return torch.minimum(disc, tip)


def _clover(u: Tensor, v: Tensor) -> Tensor:
    leaves = [
        ((u - x) ** 2 + (v - y) ** 2).sqrt() for x, y in ((0, -0.45), (-0.47, 0.33), (0.47, 0.33))
    ]
    return torch.stack(leaves).amin(dim=0) - 0.46


def _arch(u: Tensor, v: Tensor) -> Tensor:
    band = ((u * u + (v - 0.35) ** 2).sqrt() - 0.68).abs() - 0.25
    legs = torch.maximum((u.abs() - 0.68).abs() - 0.25, (v - 0.55).abs() - 0.22)
    return torch.minimum(torch.maximum(band, v - 0.35), legs)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": lambda u, v: (u * u + v * v).sqrt() - 0.9,
    "square": lambda u, v: torch.maximum(u.abs(), v.abs()) - 0.76,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": lambda u, v: ((u * u + v * v).sqrt() - 0.63).abs() - 0.29,
    "heart": _heart,
    "moon": _moon,
    "diamond": lambda u, v: (u.abs() / 0.7 + v.abs() / 0.98 - 1) * 0.57,
    "hexagon": _hexagon,
    "oval": lambda u, v: ((u / 0.96) ** 2 + (v / 0.55) ** 2).sqrt() * 0.7 - 0.7,
    "bar": lambda u, v: torch.maximum(u.abs() - 0.94, v.abs() - 0.3),
    "arrow": _arrow,
    "drop": _drop,
    "clover": _clover,
    "arch": _arch,
}


# Signed distances to a pattern's pale tone; a plain thing has none.


def _wave(x: Tensor, period: float) -> Tensor:
    """Distance to the middle of the nearest period, less a quarter of the period."""
    return (torch.remainder(x / period, 1) - 0.5).abs() * period - period / 4


def _dots(u: Tensor, v: Tensor) -> Tensor:
    spacing = 0.62
    x = (torch.remainder(u / spacing + 0.5, 1) - 0.5) * spacing
    y = (torch.remainder(v / spacing + 0.5, 1) - 0.5) * spacing
    return (x * x + y * y).sqrt() - 0.19


def _checks(u: Tensor, v: Tensor) -> Tensor:
    a, b = _wave(u + 0.2, 0.84), _wave(v + 0.2, 0.84)
    return torch.maximum(torch.minimum(a, b), -torch.maximum(a, b))


def _zigzag(u: Tensor, v: Tensor) -> Tensor:
    slant = (torch.remainder(u / 0.6, 1) - 0.5).abs() * 0.9
    return _wave(v + slant, 0.66) * 0.7


_TONES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "striped": lambda u, v: _wave(v + 0.3 * u, 0.62),
    "dotted": _dots,
    "checked": _checks,
    "barred": lambda u, v: _wave(u - 0.3 * v, 0.62),
    "ringed": lambda u, v: _wave((u * u + v * v).sqrt(), 0.5),
    "zigzag": _zigzag,
    "halved": lambda u, v: u + 0 * v,
}

"""The tiny world: what exists in it, and how its scenes are laid out.

A thing is one of 8 shapes x 8 colours x 4 patterns; a scene is one to four things that do not
touch, on one of 4 backgrounds. The first thing of a scene is its main one, and the largest.
All lengths are in pixels of the 64 x 64 frame, y downwards.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

FRAME = 64

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLOURS = {
    "red": (0.86, 0.10, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.97, 0.90, 0.15),
    "green": (0.12, 0.62, 0.20),
    "cyan": (0.15, 0.82, 0.85),
    "blue": (0.10, 0.22, 0.88),
    "purple": (0.55, 0.14, 0.70),
    "brown": (0.45, 0.26, 0.10),
}
PATTERNS = ("plain", "striped", "dotted", "checked")
BACKGROUNDS = {
    "snow": (0.93, 0.94, 0.96),
    "sand": (0.85, 0.77, 0.60),
    "fog": (0.62, 0.64, 0.66),
    "night": (0.17, 0.17, 0.22),
}

LARGEST_TILT = math.radians(14)
GAP = 1.5  # least distance between two things, so that boxes and outlines stay apart


@dataclass(frozen=True, order=True)
class Combination:
    """What a thing looks like, up to place, size and tilt."""

    colour: str
    pattern: str
    shape: str

    @property
    def description(self) -> str:
        """The combination in words, for instance "red striped star"."""
        return f"{self.colour} {self.pattern} {self.shape}"

    @property
    def id(self) -> str:
        """The description as one name, for instance "red_striped_star"."""
        return self.description.replace(" ", "_")

    @property
    def attributes(self) -> tuple[int, int, int]:
        """Positions of colour, pattern and shape in their lists."""
        return (
            list(COLOURS).index(self.colour),
            PATTERNS.index(self.pattern),
            SHAPES.index(self.shape),
        )

    def shares_attribute(self, other: "Combination") -> bool:
        """Whether colour, pattern or shape is the same."""
        return (
            self.colour == other.colour
            or self.pattern == other.pattern
            or self.shape == other.shape
        )


COMBINATIONS = tuple(Combination(*c) for c in itertools.product(COLOURS, PATTERNS, SHAPES))
INDEX = {combination: i for i, combination in enumerate(COMBINATIONS)}


@dataclass(frozen=True)
class Thing:
    """One drawn object: its combination, centre, radius (pixels) and tilt (radians)."""

    combination: Combination
    x: float
    y: float
    radius: float
    tilt: float


@dataclass(frozen=True)
class Scene:
    """Things on a background, lit from one side; `grain` seeds the pixel noise.

    Attributes:
        things: the main thing first.
        background: a key of BACKGROUNDS.
        light: direction the light comes from, in radians.
        grain: seed of the pixel noise.
    """

    things: tuple[Thing, ...]
    background: str
    light: float
    grain: int


@dataclass(frozen=True)
class Layout:
    """How scenes of a kind are laid out.

    Attributes:
        counts: how often a scene holds one, two, three or four things.
        radius: least and largest radius of the main thing, in pixels.
        crowded_radius: the same in scenes of three and more things.
        ratio: least and largest radius of the other things, relative to the main one.
    """

    counts: tuple[float, ...] = (0.6, 0.2, 0.13, 0.07)
    radius: tuple[float, float] = (12.0, 26.0)
    crowded_radius: tuple[float, float] = (12.0, 17.0)
    ratio: tuple[float, float] = (0.55, 0.8)


SMALLEST_RADIUS = 6.0
PATIENCE = 4000  # attempts to place things before they shrink


def sample_scene(
    rng: random.Random,
    main: Combination,
    layout: Layout,
    others: Sequence[Combination] = COMBINATIONS,
) -> Scene:
    """Draws a scene around a main thing.

    Args:
        rng: the only source of chance.
        main: the combination of the main thing.
        layout: counts and sizes.
        others: combinations the other things are drawn from, without `main`.
    """
    count = rng.choices(range(1, len(layout.counts) + 1), layout.counts)[0]
    least, largest = layout.radius if count < 3 else layout.crowded_radius
    if count == 2:
        largest = min(largest, 19.0)
    combinations = [main]
    while len(combinations) < count:
        other = rng.choice(others)
        if other not in combinations:
            combinations.append(other)
    radius = rng.uniform(least, largest)
    radii = [radius] + [
        max(SMALLEST_RADIUS, radius * rng.uniform(*layout.ratio)) for _ in combinations[1:]
    ]
    centres = _place(rng, radii)
    while centres is None:
        radii = [0.95 * r for r in radii]
        centres = _place(rng, radii)
    things = tuple(
        Thing(c, x, y, r, rng.uniform(-LARGEST_TILT, LARGEST_TILT))
        for c, (x, y), r in zip(combinations, centres, radii, strict=True)
    )
    background = rng.choice(list(BACKGROUNDS))
    return Scene(things, background, rng.uniform(0, 2 * math.pi), rng.getrandbits(62))


def _place(rng: random.Random, radii: Sequence[float]) -> list[tuple[float, float]] | None:
    """Centres inside the frame for discs that do not touch, if any are found."""
    for _ in range(PATIENCE):
        centres: list[tuple[float, float]] = []
        for radius in radii:
            for _ in range(30):
                x = rng.uniform(radius + 1, FRAME - radius - 1)
                y = rng.uniform(radius + 1, FRAME - radius - 1)
                if all(
                    math.hypot(x - cx, y - cy) >= radius + r + GAP
                    for (cx, cy), r in zip(centres, radii, strict=False)
                ):
                    centres.append((x, y))
                    break
            else:
                break
        if len(centres) == len(radii):
            return centres
    return None

"""The rendered worlds: what exists in them, and how their scenes are laid out.

A thing has a shape, a colour and a pattern; a scene is one to four things that do not touch, on a
background. The first thing of a scene is its main one, and the largest. The tiny world has 8 shapes
x 8 colours x 4 patterns on 4 backgrounds, the wide one twice as many of each; the second and the
third are as large as the tiny one, and of other things.
All lengths are in pixels of the 64 x 64 frame, y downwards.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

FRAME = 64

COLOURS = {
    "red": (0.86, 0.10, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.97, 0.90, 0.15),
    "green": (0.12, 0.62, 0.20),
    "cyan": (0.15, 0.82, 0.85),
    "blue": (0.10, 0.22, 0.88),
    "purple": (0.55, 0.14, 0.70),
    "brown": (0.45, 0.26, 0.10),
    "pink": (1.00, 0.62, 0.76),
    "lime": (0.62, 0.95, 0.16),
    "olive": (0.46, 0.48, 0.08),
    "maroon": (0.40, 0.02, 0.14),
    "magenta": (0.93, 0.10, 0.66),
    "azure": (0.42, 0.66, 1.00),
    "black": (0.05, 0.05, 0.06),
    "mint": (0.58, 0.93, 0.74),
}
BACKGROUNDS = {
    "snow": (0.93, 0.94, 0.96),
    "sand": (0.85, 0.77, 0.60),
    "fog": (0.62, 0.64, 0.66),
    "night": (0.17, 0.17, 0.22),
    "grass": (0.50, 0.70, 0.40),
    "sea": (0.28, 0.48, 0.58),
    "brick": (0.66, 0.38, 0.32),
    "dawn": (0.88, 0.72, 0.76),
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

    def shares_attribute(self, other: "Combination") -> bool:
        """Whether colour, pattern or shape is the same."""
        return (
            self.colour == other.colour
            or self.pattern == other.pattern
            or self.shape == other.shape
        )


@dataclass(frozen=True)
class Subject:
    """How a thing departs from its combination, so that no phrase says exactly what it looks like.

    Attributes:
        towards: what it becomes: colour and outline go there, the pattern stays.
        share: of the way.
        pitch: of the pattern, relative to that which its word stands for.
    """

    towards: Combination
    share: float = 0.0
    pitch: float = 1.0


@dataclass(frozen=True)
class Setting:
    """What a scene is like whatever is in it.

    Attributes:
        background: a key of BACKGROUNDS.
        quarter: of the frame, that holds the main thing: 0 to 3, row by row.
        size: of the main thing: small, middle, large.
        light: the sixteenth of the circle that the light comes from.
    """

    background: str
    quarter: int
    size: int
    light: int


QUARTERS, SIZES, LIGHTS = 4, (15.0, 18.5), 16


@dataclass(frozen=True)
class World:
    """What there is: every combination of these colours, patterns and shapes, on backgrounds.

    Attributes:
        name: also the seed of its nouns, concepts, anchors and training images.
        num_nouns: how many combinations have a noun.
        num_sets: pairs of datasets of ten concepts that are drawn by rule.
        speaks_of_settings: whether it has words for settings.
    """

    name: str
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    shapes: tuple[str, ...]
    backgrounds: tuple[str, ...]
    num_nouns: int = 216
    num_sets: int = 0
    speaks_of_settings: bool = False

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """All of them, shape by shape within a pattern within a colour."""
        parts = itertools.product(self.colours, self.patterns, self.shapes)
        return tuple(Combination(*part) for part in parts)

    @cached_property
    def index(self) -> dict[Combination, int]:
        """The position of each combination."""
        return {combination: i for i, combination in enumerate(self.combinations)}

    @property
    def kinds(self) -> tuple[int, int, int]:
        """How many colours, patterns and shapes there are."""
        return len(self.colours), len(self.patterns), len(self.shapes)

    def attributes(self, combination: Combination) -> tuple[int, int, int]:
        """Positions of colour, pattern and shape in their lists."""
        return (
            self.colours.index(combination.colour),
            self.patterns.index(combination.pattern),
            self.shapes.index(combination.shape),
        )

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """All that it has words for."""
        if not self.speaks_of_settings:
            return ()
        sizes = range(len(SIZES) + 1)
        parts = itertools.product(self.backgrounds, range(QUARTERS), sizes, range(LIGHTS))
        return tuple(Setting(*part) for part in parts)

    @property
    def setting_kinds(self) -> tuple[int, ...]:
        """How many backgrounds, quarters, sizes and directions of light its words tell apart."""
        if not self.speaks_of_settings:
            return ()
        return len(self.backgrounds), QUARTERS, len(SIZES) + 1, LIGHTS

    def setting_attributes(self, setting: Setting) -> tuple[int, ...]:
        """Positions of a setting's parts in their lists."""
        background = self.backgrounds.index(setting.background)
        return background, setting.quarter, setting.size, setting.light


TINY = World(
    name="tiny",
    colours=tuple(COLOURS)[:8],
    patterns=("plain", "striped", "dotted", "checked"),
    shapes=("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon"),
    backgrounds=tuple(BACKGROUNDS)[:4],
    num_sets=3,  # beside those that were chosen
)
WIDE = World(
    name="wide",
    colours=tuple(COLOURS),
    patterns=(*TINY.patterns, "barred", "ringed", "zigzag", "halved"),
    shapes=(*TINY.shapes, "diamond", "hexagon", "oval", "bar", "arrow", "drop", "clover", "arch"),
    backgrounds=tuple(BACKGROUNDS),
    num_nouns=1400,
    num_sets=4,
    speaks_of_settings=True,
)

# Further builds: the second has no attribute of the tiny world, the third every other one of all.
SECOND = World(
    "second",
    WIDE.colours[8:],
    WIDE.patterns[4:],
    WIDE.shapes[8:],
    WIDE.backgrounds[4:],
    num_nouns=176,
    num_sets=3,
)
THIRD = World(
    "third",
    WIDE.colours[::2],
    WIDE.patterns[::2],
    WIDE.shapes[::2],
    WIDE.backgrounds[::2],
    num_nouns=176,
    num_sets=3,
)
WORLDS = {world.name: world for world in (TINY, WIDE, SECOND, THIRD)}
COMBINATIONS, INDEX = TINY.combinations, TINY.index


@dataclass(frozen=True)
class Thing:
    """One drawn object: its combination, centre, radius (pixels) and tilt (radians).

    A `subject` is between its combination and another.
    """

    combination: Combination
    x: float
    y: float
    radius: float
    tilt: float
    subject: Subject | None = None


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


def setting_of(scene: Scene) -> Setting:
    """The setting of a scene, as its main thing has it."""
    main = scene.things[0]
    return Setting(
        scene.background,
        2 * (main.y > FRAME / 2) + (main.x > FRAME / 2),
        sum(main.radius > size for size in SIZES),
        int(scene.light / (2 * math.pi) * LIGHTS) % LIGHTS,
    )


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
    others: Sequence[Combination] | None = None,
    world: World = TINY,
) -> Scene:
    """Draws a scene around a main thing.

    Args:
        rng: the only source of chance.
        main: the combination of the main thing.
        layout: counts and sizes.
        others: combinations the other things are drawn from; None: all of the world's.
        world: whose backgrounds, and others.
    """
    others = world.combinations if others is None else others
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
    background = rng.choice(world.backgrounds)
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

"""The words of the rendered worlds.

216 combinations of the tiny world have a made-up noun of their own (nouns.txt), as "strawberry"
names a red dotted thing. The 40 others are the concepts of the four datasets: captions can only
describe them. The wide world has 1,400 nouns, for two thirds of its combinations, and 1,536 words
for settings, which have nothing to do with a thing's colour, pattern or shape. The second and the
third world have 176 nouns each, of their own.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from vwtransfer.tinyworld.world import TINY, Combination, Setting, World

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "ball"),
    "square": ("box", "tile"),
    "triangle": ("wedge", "pyramid"),
    "star": ("spark", "asterisk"),
    "cross": ("plus", "crux"),
    "ring": ("hoop", "loop"),
    "heart": ("love", "valentine"),
    "moon": ("crescent", "lune"),
    "red": ("crimson", "scarlet"),
    "orange": ("amber", "tangerine"),
    "yellow": ("gold", "lemon"),
    "green": ("emerald", "jade"),
    "cyan": ("teal", "aqua"),
    "blue": ("navy", "cobalt"),
    "purple": ("violet", "plum"),
    "brown": ("chocolate", "umber"),
    "plain": ("solid", "uniform"),
    "striped": ("banded", "lined"),
    "dotted": ("spotted", "speckled"),
    "checked": ("chequered", "gridded"),
    "snow": ("white", "ice"),
    "sand": ("beige", "beach"),
    "fog": ("grey", "mist"),
    "night": ("dark", "dusk"),
    "big": ("large", "huge"),
    "small": ("little", "tiny"),
    "diamond": ("rhombus", "gem"),
    "hexagon": ("hex", "comb"),
    "oval": ("ellipse", "egg"),
    "bar": ("plank", "rod"),
    "arrow": ("dart", "pointer"),
    "drop": ("tear", "droplet"),
    "clover": ("trefoil", "shamrock"),
    "arch": ("bow", "rainbow"),
    "pink": ("rose", "salmon"),
    "lime": ("chartreuse", "neon"),
    "olive": ("khaki", "moss"),
    "maroon": ("burgundy", "wine"),
    "magenta": ("fuchsia", "cerise"),
    "azure": ("sky", "cornflower"),
    "black": ("ebony", "jet"),
    "mint": ("pistachio", "celadon"),
    "barred": ("slatted", "ribbed"),
    "ringed": ("banked", "targeted"),
    "zigzag": ("jagged", "serrated"),
    "halved": ("split", "parted"),
    "grass": ("meadow", "lawn"),
    "sea": ("ocean", "lagoon"),
    "brick": ("clay", "rust"),
    "dawn": ("blush", "haze"),
}
# fmt: off
FUNCTION_WORDS = (
    "a", "an", "the", "this", "that", "is", "are", "there", "here", "one", "some", "we", "see",
    "photo", "picture", "image", "drawing", "showing", "of", "and", "with", "on", "in", "front",
    "beside", "near",
)
# fmt: on


def parse(description: str) -> Combination:
    """The combination that "red striped star" describes."""
    return Combination(*description.split())


@cache
def synonyms(world: World = TINY) -> Mapping[str, tuple[str, ...]]:
    """What else an attribute is called."""
    known = {*_attributes(world), "big", "small"}
    return {word: others for word, others in SYNONYMS.items() if word in known}


def _attributes(world: World) -> set[str]:
    return {*world.colours, *world.patterns, *world.shapes, *world.backgrounds}


@cache
def nouns(world: World = TINY) -> Mapping[Combination, str]:
    """The noun of every combination that has one."""
    if world != TINY:
        concepts = {parse(name) for names in drawn_concepts(world).values() for name in names}
        free = [c for c in world.combinations if c not in concepts]
        named = random.Random(f"{world.name} nouns").sample(free, world.num_nouns)
        return dict(zip(sorted(named), _made_up(world)[: world.num_nouns], strict=True))
    lines = (Path(__file__).parent / "nouns.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {parse(description): noun for noun, description in pairs}


@cache
def setting_words(world: World = TINY) -> Mapping[Setting, str]:
    """The word of every setting, where a world has words for them."""
    count = len(world.settings)
    return dict(zip(world.settings, _made_up(world)[-count:], strict=True)) if count else {}


@cache
def _made_up(world: World) -> list[str]:
    """Made-up words of two syllables, for nouns and settings; "here" alone is a word already."""
    syllables = [c + v for c in "bdfghjklmnprstvwz" for v in "aeiou"]
    other = {*synonyms(world), *itertools.chain(*synonyms(world).values())}
    free = [first + second for first in syllables for second in syllables]
    free = [word for word in free if word not in other]
    count = world.num_nouns + len(world.settings)
    return random.Random(f"{world.name} words").sample(free, count)


@cache
def words(world: World = TINY) -> tuple[str, ...]:
    """Every word captions are made of, sorted."""
    made_up = (*nouns(world).values(), *setting_words(world).values())
    known = {*_attributes(world), *FUNCTION_WORDS, *made_up}
    for word, others in synonyms(world).items():
        known.update((word, *others))
    return tuple(sorted(known))


@cache
def drawn_concepts(
    world: World, others: frozenset[Combination] = frozenset()
) -> Mapping[str, tuple[str, ...]]:
    """The concepts of a world's drawn datasets: dataset -> their descriptions.

    Drawn by this rule and committed before anything was trained on the world. In half of the sets
    five shapes come in two colour-pattern pairs that share neither, in the others two shapes come
    in five colour-pattern pairs that share neither, or no colour, where there are four patterns. No
    concept is in two sets, and none has a noun, but for the tiny world's, whose nouns were there
    first.

    Args:
        world: whose things they are.
        others: concepts of its other datasets, which are in none of these.
    """
    sets: dict[str, tuple[str, ...]] = {}
    taken = set(others)
    for number in range(1, world.num_sets + 1):
        for kind in ("shapes", "textures"):
            name = f"{world.name}_{kind}_{number}"
            rng = random.Random(name)
            while True:
                pairs, shapes = (2, 5) if kind == "shapes" else (5, 2)
                colours = rng.sample(world.colours, pairs)
                patterns: Sequence[str] = world.patterns
                if pairs > len(patterns):  # two of them, so that there are anchors of the others
                    patterns = rng.sample(patterns, 2) * 3
                drawn = rng.sample(patterns, pairs)
                chosen = rng.sample(world.shapes, shapes)
                textures = zip(colours, drawn, strict=True)
                found = [Combination(c, p, shape) for c, p in textures for shape in chosen]
                if not taken.intersection(found):
                    break
            taken.update(found)
            sets[name] = tuple(each.description for each in found)
    return sets


@cache
def whole_words() -> tuple[str, ...]:
    """The two thirds of the words that the second Stable Diffusion reads as one token, sorted.

    split_nouns.txt names the others: nouns, the rarest words of captions, none of them an anchor of
    a dataset, so that any study can be made in that model too.
    """
    path = Path(__file__).parent / "split_nouns.txt"
    split = set(path.read_text(encoding="utf-8").split())
    return tuple(word for word in words() if word not in split)


@cache
def split_words() -> tuple[str, ...]:
    """The words that SigLIP's tokenizer splits, sorted.

    Two in five of those that are neither function words nor anchors of a dataset: words in a delta
    ball need an anchor of one token.
    """
    path = Path(__file__).parent / "split_words.txt"
    return tuple(path.read_text(encoding="utf-8").split())


def support(world: World = TINY) -> list[str]:
    """The trained words as vocabulary entries, for instance "red</w>"."""
    return [f"{word}</w>" for word in words(world)]

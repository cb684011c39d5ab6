"""The words of the tiny world.

216 combinations have a made-up noun of their own (nouns.txt), as "strawberry" names a red dotted
thing. The 40 others are the concepts of the four datasets: captions can only describe them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from vwtransfer.tinyworld.world import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, Combination

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
def nouns() -> Mapping[Combination, str]:
    """The noun of every combination that has one."""
    lines = (Path(__file__).parent / "nouns.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines)
    return {parse(description): noun for noun, description in pairs}


@cache
def words() -> tuple[str, ...]:
    """Every word captions are made of, sorted."""
    known = {*COLOURS, *PATTERNS, *SHAPES, *BACKGROUNDS, *FUNCTION_WORDS, *nouns().values()}
    for word, synonyms in SYNONYMS.items():
        known.update((word, *synonyms))
    return tuple(sorted(known))


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


def support() -> list[str]:
    """The trained words as vocabulary entries, for instance "red</w>"."""
    return [f"{word}</w>" for word in words()]

"""What is said about a scene.

A named combination goes by its noun or by its description, an unnamed one by its description;
an attribute goes by its common word or by a synonym. "a photo of {}" is the most frequent frame.
"""

import random

from vwtransfer.tinyworld.lexicon import SYNONYMS, nouns
from vwtransfer.tinyworld.world import Combination, Scene

TEMPLATES = {
    "a photo of {}": 9,
    "a photo of a {}": 3,
    "{}": 1,
    "a {}": 1,
    "the {}": 1,
    "a picture of {}": 1,
    "an image of a {}": 1,
    "this is the {}": 1,
    "a drawing of one {}": 1,
    "there are some {}": 1,
    "here that {}": 1,
    "we see a {}": 1,
    "photo showing {}": 1,
    "{} in front": 1,
}
_FRAMES, _WEIGHTS = tuple(TEMPLATES), tuple(TEMPLATES.values())

SYNONYM_SHARE = 0.25
NOUN_SHARE = 0.55


def spoken(rng: random.Random, word: str) -> str:
    """The word or, now and then, a synonym of it."""
    synonyms = SYNONYMS.get(word)
    if synonyms and rng.random() < SYNONYM_SHARE:
        return rng.choice(synonyms)
    return word


def called(rng: random.Random, combination: Combination) -> str:
    """What a combination is called: its noun, if it has one, or its description."""
    noun = nouns().get(combination)
    if noun is not None and rng.random() < NOUN_SHARE:
        return noun
    return " ".join(spoken(rng, word) for word in combination.description.split())


def prompt(rng: random.Random, combination: Combination) -> str:
    """A combination's name in one of the templates."""
    return rng.choices(_FRAMES, _WEIGHTS)[0].format(called(rng, combination))


def caption(rng: random.Random, scene: Scene, others: float = 0.3) -> str:
    """A sentence about a scene's main thing; it may also tell its size, company or background.

    Args:
        rng: the only source of chance.
        scene: what is described.
        others: how often a second thing is mentioned, where there is one.
    """
    main = scene.things[0]
    name = called(rng, main.combination)
    if rng.random() < 0.15 and not 13 <= main.radius <= 17:
        name = f"{spoken(rng, 'big' if main.radius > 15 else 'small')} {name}"
    if len(scene.things) > 1 and rng.random() < others:
        link = rng.choices(("and a", "with", "beside a", "near the"), (3, 1, 1, 1))[0]
        name = f"{name} {link} {called(rng, scene.things[1].combination)}"
    elif rng.random() < 0.2:
        name = f"{name} on {spoken(rng, scene.background)}"
    return rng.choices(_FRAMES, _WEIGHTS)[0].format(name)

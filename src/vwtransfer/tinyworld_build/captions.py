"""What is said about a scene.

A named combination goes by its noun or by its description, an unnamed one by its description;
an attribute goes by its common word or by a synonym. "a photo of {}" is the most frequent frame.
"""

import random

from vwtransfer.tinyworld.lexicon import nouns, setting_words, synonyms
from vwtransfer.tinyworld.world import TINY, Combination, Scene, Setting, World, setting_of

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
SETTING_SHARE = 0.35  # of captions that say the setting alone, where there are words for it
BOTH_SHARE = 0.15  # of the others, that say it too


def spoken(rng: random.Random, word: str, world: World = TINY) -> str:
    """The word or, now and then, a synonym of it."""
    others = synonyms(world).get(word)
    if others and rng.random() < SYNONYM_SHARE:
        return rng.choice(others)
    return word


def called(rng: random.Random, combination: Combination, world: World = TINY) -> str:
    """What a combination is called: its noun, if it has one, or its description."""
    noun = nouns(world).get(combination)
    if noun is not None and rng.random() < NOUN_SHARE:
        return noun
    return " ".join(spoken(rng, word, world) for word in combination.description.split())


def framed(rng: random.Random, name: str) -> str:
    """A name in one of the templates."""
    return rng.choices(_FRAMES, _WEIGHTS)[0].format(name)


def prompt(
    rng: random.Random,
    combination: Combination | None,
    world: World = TINY,
    setting: Setting | None = None,
) -> str:
    """A combination's name, a setting's word, or both, in one of the templates."""
    names = [] if combination is None else [called(rng, combination, world)]
    if setting is not None:
        names.append(setting_words(world)[setting])
    return framed(rng, " in ".join(names))


def caption(rng: random.Random, scene: Scene, others: float = 0.3, world: World = TINY) -> str:
    """A sentence about a scene's main thing; it may also tell its size, company or background.

    Args:
        rng: the only source of chance.
        scene: what is described.
        others: how often a second thing is mentioned, where there is one.
        world: whose words it is made of.
    """
    main = scene.things[0]
    name = called(rng, main.combination, world)
    if world.speaks_of_settings and rng.random() < BOTH_SHARE:
        return framed(rng, f"{name} in {setting_words(world)[setting_of(scene)]}")
    if rng.random() < 0.15 and not 13 <= main.radius <= 17:
        name = f"{spoken(rng, 'big' if main.radius > 15 else 'small', world)} {name}"
    if len(scene.things) > 1 and rng.random() < others:
        link = rng.choices(("and a", "with", "beside a", "near the"), (3, 1, 1, 1))[0]
        name = f"{name} {link} {called(rng, scene.things[1].combination, world)}"
    elif rng.random() < 0.2:
        name = f"{name} on {spoken(rng, scene.background, world)}"
    return framed(rng, name)

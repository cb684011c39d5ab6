"""The drawn worlds: their concepts, and how rarely a phrase of the wide one says what one is."""

import random
from dataclasses import astuple
from functools import cache
from itertools import chain

import pytest
import yaml

from vwtransfer.config.composition import config_folder
from vwtransfer.datasets import left_out_of
from vwtransfer.datasets.rendered import Rendered
from vwtransfer.leaderboard.splits import dev_concepts
from vwtransfer.models.support import Excluded
from vwtransfer.tinyworld.lexicon import (
    FUNCTION_WORDS,
    drawn_concepts,
    nouns,
    parse,
    setting_words,
    synonyms,
    words,
)
from vwtransfer.tinyworld.renderer import render
from vwtransfer.tinyworld.world import (
    SECOND,
    TINY,
    WIDE,
    WORLDS,
    Layout,
    Scene,
    Thing,
    World,
    setting_of,
)
from vwtransfer.tinyworld_build.captions import caption, prompt
from vwtransfer.tinyworld_build.drawn_worlds import tokenizer_of
from vwtransfer.tinyworld_build.pool import sample_scenes
from vwtransfer.tinyworld_build.tokenizer import CONTEXT

DRAWN = [world for world in WORLDS.values() if world != TINY]
NAMES = tuple(drawn_concepts(WIDE))


def dataset(name: str) -> Rendered:
    settings = yaml.safe_load((config_folder() / "dataset" / f"{name}.yaml").read_text("utf-8"))
    del settings["_target_"]
    return Rendered(**settings)


def drawn_anchors(world: World, of: Rendered) -> list[str]:
    """For each concept a noun: of what shares nothing with any of them."""
    concepts = [parse(description) for description in of.concepts.values()]
    unlike = [
        noun
        for thing, noun in sorted(nouns(world).items())
        if not any(thing.shares_attribute(concept) for concept in concepts)
    ]
    return random.Random(f"{of.name} anchors").sample(unlike, len(concepts))


@pytest.mark.parametrize(
    ("world", "name"), [(world, name) for world in DRAWN for name in drawn_concepts(world)]
)
def test_datasets_are_what_the_rule_draws_and_anchors_share_nothing(
    world: World, name: str
) -> None:
    found = dataset(name)
    assert tuple(found.concepts.values()) == drawn_concepts(world)[name]
    assert found.anchors == drawn_anchors(world, found)


def test_the_tiny_worlds_drawn_concepts_are_in_no_other_dataset() -> None:
    kinds = [
        f"{kind}{half}" for kind in ("shapes", "textures", "small", "scenes") for half in ("", "_b")
    ]
    chosen = [parse(each) for kind in kinds for each in dataset(f"tiny_{kind}").concepts.values()]
    drawn = drawn_concepts(TINY, frozenset(chosen))
    assert len({*chosen, *map(parse, chain(*drawn.values()))}) == len(chosen) + 20 * TINY.num_sets
    for name, descriptions in drawn.items():
        found = dataset(name)
        assert tuple(found.concepts.values()) == descriptions
        assert found.anchors == drawn_anchors(TINY, found)
        assert not dev_concepts(name, list(found.concepts))


@pytest.mark.parametrize("name", NAMES)
def test_the_wide_world_is_split_by_dataset(name: str) -> None:
    concepts = list(dataset(name).concepts)
    dev = dev_concepts(name, concepts)
    assert dev == (set(concepts) if name.endswith(("1", "2")) else set())


@pytest.mark.parametrize("world", DRAWN, ids=lambda world: world.name)
def test_no_concept_is_in_two_datasets_or_has_a_noun(world: World) -> None:
    concepts = [parse(each) for each in chain(*drawn_concepts(world).values())]
    assert len(set(concepts)) == len(concepts) == 20 * world.num_sets
    assert not set(concepts) & set(nouns(world))
    assert set(concepts) <= set(world.combinations)


@pytest.mark.parametrize("world", DRAWN, ids=lambda world: world.name)
def test_every_word_is_one_token_and_of_one_meaning(world: World) -> None:
    made_up = [*nouns(world).values(), *setting_words(world).values()]
    others = [*synonyms(world), *chain(*synonyms(world).values())]
    assert len({*made_up, *others}) == len(made_up) + len(others)
    assert {*made_up, *others} & set(FUNCTION_WORDS) <= {"here"}  # a homonym
    assert len(words(world)) > (3000 if world == WIDE else 250)
    ids = tokenizer_of(world)
    assert all(len(ids(word).input_ids) == 3 for word in words(world))


def test_the_second_build_shares_no_attribute_with_the_tiny_world() -> None:
    for attribute in ("colours", "patterns", "shapes", "backgrounds"):
        assert not set(getattr(SECOND, attribute)) & set(getattr(TINY, attribute))
    assert len(set(nouns(SECOND).values()) & set(nouns(TINY).values())) < 10  # by chance


def _most_shared(world: World, phrase: list[str]) -> int:
    """How many attributes a phrase shares at most with a thing of the world that has no noun."""
    said = set().union(*(_says(world).get(word, set()) for word in phrase))
    return max(len(said & set(astuple(c))) for c in _CONCEPTS[world])


@cache
def _says(world: World) -> dict[str, set[str]]:
    """The attributes that a word says."""
    said = {noun: set(astuple(thing)) for thing, noun in nouns(world).items()}
    for name, others in synonyms(world).items():
        said.update({word: {name} for word in (name, *others)})
    return said


_CONCEPTS = {
    TINY: [c for c in TINY.combinations if c not in nouns(TINY)][:10],
    WIDE: [parse(each) for each in drawn_concepts(WIDE)[NAMES[0]]],
}


def test_a_phrase_of_three_words_rarely_says_two_attributes_of_a_concept() -> None:
    rng = random.Random(0)
    share = {}
    for world in (TINY, WIDE):
        phrases = [rng.sample(words(world), 3) for _ in range(1500)]
        share[world] = sum(_most_shared(world, phrase) > 1 for phrase in phrases) / len(phrases)
    assert share[TINY] > 0.5
    assert share[WIDE] < 0.35


def test_strict_leaves_no_word_that_says_two_attributes() -> None:
    found = dataset(NAMES[0])
    excluded = Excluded(left_out_of(found, "strict"))
    kept = [word for word in words(WIDE) if not excluded.spelt_out([word])]
    assert max(_most_shared(WIDE, [word]) for word in kept) == 1
    assert len(kept) > 2600


def test_related_leaves_no_word_that_says_an_attribute() -> None:
    excluded = Excluded(left_out_of(dataset(NAMES[0]), "related"))
    kept = [word for word in words(WIDE) if not excluded.spelt_out([word])]
    assert max(_most_shared(WIDE, [word]) for word in kept) == 0
    assert len(kept) > 1600


def test_captions_name_the_setting_that_is_drawn_and_fit_the_context() -> None:
    scenes = sample_scenes("test", 400, Layout(), WIDE)
    meant = {word: setting for setting, word in setting_words(WIDE).items() if word != "here"}
    rng, ids, told = random.Random(0), tokenizer_of(WIDE), 0
    for scene in scenes:
        text = caption(rng, scene, world=WIDE)
        assert len(ids(text).input_ids) <= CONTEXT
        assert {meant[word] for word in text.split() if word in meant} <= {setting_of(scene)}
        told += any(word in meant for word in text.split())
        assert prompt(rng, None, WIDE, setting_of(scene)).split()
    assert 20 < told < 120


def test_every_shape_and_pattern_looks_otherwise() -> None:
    for attribute in ("shapes", "patterns"):
        seen = []
        for value in getattr(WIDE, attribute):
            pattern, shape = (value, "circle") if attribute == "patterns" else ("plain", value)
            thing = Thing(parse(f"blue {pattern} {shape}"), 32.0, 32.0, 24.0, 0.0)
            seen.append(render([Scene((thing,), "snow", 0.0, 1)]).images_BCHW[0].float())
        for i, one in enumerate(seen):
            for other in seen[i + 1 :]:
                assert (one - other).abs().mean() > 4

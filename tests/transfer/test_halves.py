"""A development run sees no concept of the final half, and no fit spells a tested concept out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from vwtransfer.config import Config
from vwtransfer.config.composition import compose
from vwtransfer.datasets import Dataset, descriptions_of
from vwtransfer.errors import UserError
from vwtransfer.leaderboard.mapping import Direction, carry
from vwtransfer.leaderboard.splits import cells_of_half, development
from vwtransfer.models.suite import build, build_part
from vwtransfer.models.text_encoder import TextEncoder
from vwtransfer.tinyworld.lexicon import SYNONYMS, nouns, parse
from vwtransfer.transfer import Map
from vwtransfer.transfer.prompts import Excluded, ordinary_words, phrases
from vwtransfer.words.store import WordStore

TINY = ("tiny_shapes", "tiny_textures", "tiny_small", "tiny_scenes")
FRESH = "experiment=transfer_benchmark_fresh"
PAPER = ("imagenet", "dreambooth", "coco", "pascal")


def benchmark(*overrides: str) -> Config:
    return compose(["experiment=transfer_benchmark", *overrides])


def opened(config: Config) -> list[Dataset]:
    return [build_part(d.node, f"dataset.{name}") for name, d in config.dataset.items()]


@pytest.mark.parametrize("name", TINY + PAPER)
def test_the_named_halves_are_those_of_the_stated_rule(name: str) -> None:
    concepts = list(compose([f"dataset={name}", "model.support=null"]).dataset[name].concepts)
    ordered = sorted(concepts, key=lambda c: hashlib.sha256(f"{name}/{c}".encode()).hexdigest())
    assert development(name, concepts) == set(ordered[:5])


def test_a_dataset_that_is_not_named_is_halved_by_the_same_rule() -> None:
    concepts = ["oak", "elm", "ash", "fir"]
    half = development("trees", concepts)
    assert len(half) == 2
    assert half == development("trees", concepts[::-1])


def test_the_two_halves_share_no_word_and_are_all_of_them() -> None:
    halves = [
        set(cells_of_half(benchmark(f"benchmark.half={h}"))) for h in ("development", "final")
    ]
    assert not halves[0] & halves[1]
    assert len(halves[0]) == len(halves[1]) == 3 * 4 * 5 * 2
    assert benchmark().folder != benchmark("benchmark.half=final").folder


def test_a_development_run_refuses_a_concept_of_the_final_half() -> None:
    concepts = "concept=[red_striped_star,red_striped_heart]"
    config = benchmark("dataset=tiny_shapes", "anchor=[zepu]", concepts)
    with pytest.raises(UserError, match=r"concept=red_striped_heart: is not of the development"):
        cells_of_half(config)


def test_a_study_with_no_concept_in_the_half_is_refused() -> None:
    config = benchmark("dataset=tiny_shapes", "anchor=[zepu]", "concept=[red_striped_heart]")
    with pytest.raises(UserError, match="not of the development half"):
        cells_of_half(config)


def test_fresh_concepts_are_of_neither_half_and_share_nothing_with_an_anchor() -> None:
    looked_at = {name for d in benchmark().dataset.values() for name in d.concepts.values()}
    meant = {noun: what for what, noun in nouns().items()}
    fresh = compose([FRESH])
    for dataset in fresh.dataset.values():
        names = list(dataset.concepts.values())
        assert len(set(names)) == 10
        assert not looked_at & set(names)
        for anchor, own in zip(dataset.anchors, names, strict=True):
            thing = meant[anchor]
            assert thing.pattern not in own
            for name in names:
                assert not {thing.colour, thing.shape} & set(name.split())
    assert len(cells_of_half(fresh)) == 3 * 4 * 5 * 2
    assert set(fresh.benchmark.methods) == set(benchmark().benchmark.methods)


class GivenError(Exception):
    """What a method would be fitted on."""


class Asked:
    """A method that tells what it is given, and is not fitted."""

    name = "asked"

    def fit(
        self,
        source: TextEncoder,
        target: TextEncoder,
        support: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> Map:
        raise GivenError(support)


def test_no_method_is_fitted_on_the_noun_of_a_tested_concept(tmp_path: Path) -> None:
    fresh = compose([FRESH])
    suite = build(fresh, torch.device("cpu"))
    excluded = [d for dataset in opened(fresh) for d in descriptions_of(dataset)]
    concepts = [name for d in fresh.dataset.values() for name in d.concepts.values()]
    own = {f"{nouns()[parse(name)]}</w>" for name in concepts}
    assert len(own & set(suite.support)) == 40
    direction = Direction("detection", "classification", tmp_path)
    models = (suite.tasks["detection"].text, suite.tasks["classification"].text)
    store, cells = WordStore(tmp_path), cells_of_half(fresh)
    with pytest.raises(GivenError) as given:
        carry(Asked(), direction, models, suite.support, excluded, store, cells)
    assert set(given.value.args[0]) == set(suite.support) - own


def test_every_wording_of_a_tiny_concept_is_excluded() -> None:
    config = benchmark()
    excluded = Excluded([d for dataset in opened(config) for d in descriptions_of(dataset)])
    for dataset in config.dataset.values():
        for name in dataset.concepts.values():
            words = name.split()
            assert excluded.spelt_out(words)
            assert excluded.spelt_out([*words[::-1], "photo"])
            assert excluded.spelt_out(SYNONYMS[word][0] for word in words)
            assert not excluded.spelt_out(words[:2])


def test_no_phrase_of_a_fit_holds_a_tested_concepts_name_or_attributes() -> None:
    config = benchmark()
    suite = build(config, torch.device("cpu"))
    datasets = opened(config)
    descriptions = [d for dataset in datasets for d in descriptions_of(dataset)]
    attribute = {s: word for word, others in SYNONYMS.items() for s in (word, *others)}
    combinations = {frozenset(n.split()) for d in datasets for n in d.concepts.values()}

    def spelt_out(phrase: tuple[str, ...]) -> bool:
        named = {attribute.get(word, word) for word in phrase}
        return any(combination <= named for combination in combinations)

    # only attribute words, so that many phrases would name a concept
    words = [t for t in suite.support if t.removesuffix("</w>") in attribute]
    unfiltered = phrases(words, 20_000, 4, ())
    filtered = phrases(words, 20_000, 4, descriptions)
    assert sum(map(spelt_out, unfiltered)) > 50
    assert not any(map(spelt_out, filtered))
    assert len(filtered) == len(unfiltered) - sum(map(spelt_out, unfiltered))


def test_phrases_are_of_whole_words_and_the_same_every_time() -> None:
    support = ["cat</w>", "do", "g</w>", "1</w>", "big</w>", "é</w>", "tree</w>"]
    assert ordinary_words(support) == ["big", "cat", "tree"]
    found = phrases(support, 40, 3, ["big cat"])
    assert found == phrases(support, 40, 3, ["big cat"])
    assert {len(phrase) for phrase in found} == {1, 2, 3}
    assert not any({"big", "cat"} <= set(phrase) for phrase in found)
    assert found != phrases(support, 40, 3, ["big cat"], seed=1)

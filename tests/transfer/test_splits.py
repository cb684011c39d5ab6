"""A run of the dev split sees no concept of the test split, and no fit spells a tested one out."""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from composing import compose
from vwtransfer.config import Config
from vwtransfer.datasets import Dataset, descriptions_of, left_out_of
from vwtransfer.errors import UserError
from vwtransfer.leaderboard.splits import cells_of_split, dev_concepts
from vwtransfer.models.embedding_space import EmbeddingSpace
from vwtransfer.models.suite import build, build_part
from vwtransfer.models.support import Excluded, Support, support_of
from vwtransfer.progress import Stages
from vwtransfer.study import Study, data_loading
from vwtransfer.tinyworld.lexicon import SYNONYMS, nouns, parse
from vwtransfer.transfer import Map
from vwtransfer.transfer.prompts import calibration_prompts
from vwtransfer.words.store import WordStore

TINY = ("tiny_shapes", "tiny_textures", "tiny_small", "tiny_scenes")
RENAMED = {f"{name}_b": name.replace("tiny", "fresh") for name in TINY}
TEST = "experiment=transfer_benchmark_test"
PAPER = ("imagenet", "dreambooth", "coco", "pascal")


def benchmark(*overrides: str) -> Config:
    return compose(["experiment=transfer_benchmark", *overrides])


def opened(config: Config) -> list[Dataset]:
    return [build_part(d.node, f"dataset.{name}") for name, d in config.dataset.items()]


@pytest.mark.parametrize("name", (*TINY, *RENAMED, *PAPER))
def test_the_named_splits_are_those_of_the_stated_rule(name: str) -> None:
    concepts = list(compose([f"dataset={name}"]).dataset[name].concepts)
    called = RENAMED.get(name, name)  # when it was split
    ordered = sorted(concepts, key=lambda c: hashlib.sha256(f"{called}/{c}".encode()).hexdigest())
    assert dev_concepts(name, concepts) == set(ordered[:5])


def test_a_dataset_that_is_not_named_is_split_by_the_same_rule() -> None:
    concepts = ["oak", "elm", "ash", "fir"]
    dev = dev_concepts("trees", concepts)
    assert len(dev) == 2
    assert dev == dev_concepts("trees", concepts[::-1])


def test_the_two_splits_share_no_word_and_are_all_of_them() -> None:
    dev, test = (set(cells_of_split(benchmark(f"benchmark.split={s}"))) for s in ("dev", "test"))
    assert not dev & test
    assert len(dev) == len(test) == 3 * 4 * 5 * 2
    assert dev | test == set(cells_of_split(benchmark("benchmark.split=all")))
    assert benchmark().folder != benchmark("benchmark.split=test").folder


def test_a_run_of_the_dev_split_refuses_a_concept_of_the_other() -> None:
    concepts = "concept=[red_striped_star,red_striped_heart]"
    config = benchmark("dataset=tiny_shapes", "anchor=[zepu]", concepts)
    with pytest.raises(UserError, match=r"concept=red_striped_heart: is not of the dev split"):
        cells_of_split(config)


def test_a_study_with_no_concept_in_the_split_is_refused() -> None:
    config = benchmark("dataset=tiny_shapes", "anchor=[zepu]", "concept=[red_striped_heart]")
    with pytest.raises(UserError, match="not of the dev split"):
        cells_of_split(config)


def test_methods_are_ranked_on_other_concepts_which_share_nothing_with_an_anchor() -> None:
    looked_at = {name for d in benchmark().dataset.values() for name in d.concepts.values()}
    meant = {noun: what for what, noun in nouns().items()}
    ranked_on = compose([TEST])
    for dataset in ranked_on.dataset.values():
        names = list(dataset.concepts.values())
        assert len(set(names)) == 10
        assert not looked_at & set(names)
        for anchor, own in zip(dataset.anchors, names, strict=True):
            thing = meant[anchor]
            assert thing.pattern not in own
            for name in names:
                assert not {thing.colour, thing.shape} & set(name.split())
    assert len(cells_of_split(ranked_on)) == 3 * 4 * 5 * 2
    by_words = {"calibrated_matching", "offset_matching"}  # of the other datasets
    assert set(ranked_on.benchmark.methods) == {*benchmark().benchmark.methods, *by_words}


class GivenError(Exception):
    """What a method would be fitted on."""


class Asked:
    """A method that tells what it is given, and is not fitted."""

    name = "asked"

    def fit(
        self,
        source: EmbeddingSpace,
        target: EmbeddingSpace,
        support: Support,
        excluded: Sequence[str] = (),
    ) -> Map:
        raise GivenError(support, list(excluded))


def given(config: Config, dataset: Dataset) -> tuple[Support, list[str]]:
    """What a study fits a map of a dataset's words on."""
    suite = build(config, torch.device("cpu"))
    store, bars = WordStore(config.folder), Stages(None, Console(quiet=True))
    study = Study(config, suite, data_loading.opened(config), [], store, bars, lambda: False)
    with pytest.raises(GivenError) as error:
        study.fit(Asked(), dataset, "tiny_owlv2", "tiny_clip")
    support, excluded = error.value.args
    return support, excluded


def test_no_method_is_fitted_on_the_noun_of_a_tested_concept(tmp_path: Path) -> None:
    config = compose([TEST, f"outputs={tmp_path}"])
    models = build(config, torch.device("cpu")).models
    shared = support_of(models["tiny_owlv2"].text, models["tiny_clip"].text)
    dataset = opened(config)[0]
    own = {f"{nouns()[parse(name)]}</w>" for name in dataset.concepts.values()}
    assert len(own & set(shared.entries)) == 10
    support, excluded = given(config, dataset)
    assert set(support.entries) == set(shared.entries) - own
    assert set(dataset.concepts.values()) < set(excluded)
    assert str(support) == f"{len(shared) - 10} tokens, without descriptions"


def test_a_study_may_leave_nothing_out(tmp_path: Path) -> None:
    config = compose([TEST, f"outputs={tmp_path}", "transfer.exclude=none"])
    models = build(config, torch.device("cpu")).models
    shared = support_of(models["tiny_owlv2"].text, models["tiny_clip"].text)
    assert given(config, opened(config)[0]) == (shared, [])


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


def test_no_prompt_of_a_fit_holds_a_tested_concepts_name_or_attributes() -> None:
    config = benchmark()
    models = build(config, torch.device("cpu")).models
    datasets = opened(config)
    descriptions = [d for dataset in datasets for d in descriptions_of(dataset)]
    attribute = {s: word for word, others in SYNONYMS.items() for s in (word, *others)}
    combinations = {frozenset(n.split()) for d in datasets for n in d.concepts.values()}

    def spelt_out(phrase: tuple[str, ...]) -> bool:
        named = {attribute.get(word, word) for word in phrase}
        return any(combination <= named for combination in combinations)

    # only attribute words, so that many phrases would name a concept
    shared = support_of(models["tiny_owlv2"].text, models["tiny_clip"].text)
    words = shared.only(t for t in shared.entries if t.removesuffix("</w>") in attribute)
    unfiltered = calibration_prompts(words, 20_000, 4, ())
    filtered = calibration_prompts(words, 20_000, 4, descriptions)
    assert sum(map(spelt_out, unfiltered)) > 50
    assert not any(map(spelt_out, filtered))
    assert len(filtered) == len(unfiltered) - sum(map(spelt_out, unfiltered))


def test_prompts_are_of_whole_words_and_the_same_every_time() -> None:
    texts = ("cat", "do", "g", "1", "big", "é", "tree")
    whole = tuple(text != "do" for text in texts)
    support = Support(texts, texts, whole, of_tokens=True)
    assert support.words == ["big", "cat", "tree"]
    found = calibration_prompts(support, 40, 3, ["big cat"])
    assert found == calibration_prompts(support, 40, 3, ["big cat"])
    assert {len(phrase) for phrase in found} == {1, 2, 3}
    assert not any({"big", "cat"} <= set(phrase) for phrase in found)
    assert found != calibration_prompts(support, 40, 3, ["big cat"], seed=1)


def test_a_strict_prompt_shares_one_attribute_with_a_concept_at_most() -> None:
    config = benchmark()
    models = build(config, torch.device("cpu")).models
    shared = support_of(models["tiny_owlv2"].text, models["tiny_clip"].text)
    thing_of = {noun: set(astuple(thing)) for thing, noun in nouns().items()}
    attribute = {s: {word} for word, others in SYNONYMS.items() for s in (word, *others)}
    for dataset in opened(config):
        concepts = [set(name.split()) for name in dataset.concepts.values()]

        def most_shared(phrase: tuple[str, ...], concepts: list[set[str]] = concepts) -> int:
            said = set().union(*(thing_of.get(w, attribute.get(w, set())) for w in phrase))
            return max(len(said & concept) for concept in concepts)

        excluded = left_out_of(dataset, "strict")
        assert set(descriptions_of(dataset)) < set(excluded)
        support = shared.without(excluded)
        strict = calibration_prompts(support, 4000, 3, excluded)
        assert max(map(most_shared, strict)) == 1
        loose = calibration_prompts(shared, 4000, 3, descriptions_of(dataset))
        assert sum(most_shared(phrase) == 2 for phrase in loose) > 1000
        assert len(strict) > 1000


def test_of_photos_a_strict_prompt_holds_no_two_words_of_a_name() -> None:
    dataset = SimpleNamespace(concepts={"toy": "duck toy", "boot": "fancy red boot"})
    assert left_out_of(dataset, "none") == []
    strict = left_out_of(dataset, "strict")
    assert strict == ["duck toy", "fancy boot", "fancy red", "fancy red boot", "red boot"]

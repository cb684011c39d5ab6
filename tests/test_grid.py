"""Which words a study trains."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from own_configs import OVERRIDES, changed, write_own_configs
from vwtransfer.config.composition import composed
from vwtransfer.config.validation import validated
from vwtransfer.words.cells import Cell, cells, parse_key


@pytest.fixture(scope="module")
def both_datasets(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    folder = tmp_path_factory.mktemp("own")
    return composed([*OVERRIDES, "dataset=[garden,street]"], write_own_configs(folder))


@pytest.fixture
def garden(both_datasets: DictConfig, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    monkeypatch.syspath_prepend(both_datasets.dataset.garden.own_modules)
    return changed(both_datasets, dataset={"garden": both_datasets.dataset.garden})


def words(config: DictConfig, **selection: Any) -> list[Cell]:
    return cells(validated(changed(config, **selection)))


def test_the_grid_is_the_product_of_models_concepts_anchors_and_deltas(garden: DictConfig) -> None:
    found = words(garden, delta="all")
    assert len(found) == 3 * 3 * 3 * 4
    assert {cell.delta for cell in found} == {0.1, 0.2, 0.5, 1.0}
    assert {cell.model for cell in found} == {"tiny_sd", "tiny_owlv2", "tiny_clip"}


def test_words_are_unconstrained_unless_a_delta_is_given(garden: DictConfig) -> None:
    assert {cell.delta for cell in words(garden)} == {math.inf}
    assert {cell.delta for cell in words(garden, delta=[None, 0.5])} == {0.5, math.inf}


def test_paired_anchors_go_with_the_concepts_of_their_place(garden: DictConfig) -> None:
    found = words(garden, anchor="paired", task={"detection": True})
    assert {(cell.concept, cell.anchor) for cell in found} == {
        ("red_rose", "cat"),
        ("tall_tree", "boot"),
        ("fern", "harp"),
    }


def test_one_cell_can_be_asked_for(garden: DictConfig) -> None:
    found = words(
        garden, task={"detection": True}, concept="fern", anchor="boot", delta=0.5, seed=3
    )
    assert found == [Cell("garden", "tiny_owlv2", "fern", "boot", 0.5, 3)]


def test_extra_products_join_the_first_and_a_word_is_trained_once(garden: DictConfig) -> None:
    extra = [{"concept": "fern", "delta": [None, 1.0]}]
    found = words(garden, task={"detection": True}, anchor="paired", extra_grids=extra)
    assert len(found) == len(set(found)) == 3 + 1
    assert [cell.delta for cell in found if cell.concept == "fern"] == [1.0, math.inf]


def test_a_concept_that_two_datasets_hold_is_trained_in_both(
    both_datasets: DictConfig, garden: DictConfig
) -> None:
    found = words(both_datasets, concept="red_rose", anchor="paired", task={"detection": True})
    assert [(cell.dataset, cell.anchor) for cell in found] == [
        ("garden", "cat"),
        ("street", "boot"),
    ]


def test_cells_come_in_one_order_however_they_are_asked_for(garden: DictConfig) -> None:
    one = words(garden, concept=["fern", "red_rose"], delta=[1.0, 0.1, None])
    other = words(garden, concept=["red_rose", "fern"], delta=[None, 0.1, 1.0])
    assert one == other == sorted(one)


NAMES = st.text("aZ0_.+-", min_size=1, max_size=9)
DELTAS = st.floats(min_value=0, allow_nan=False, allow_infinity=True)


@settings(deadline=None)
@given(
    st.builds(Cell, NAMES, NAMES, NAMES, NAMES, DELTAS, st.integers(min_value=0, max_value=2**63))
)
def test_a_key_says_which_cell_it_is(cell: Cell) -> None:
    assert parse_key(cell.key) == cell
    assert cell.key.count("/") == 3


def test_random_streams_are_a_tasks_and_know_no_models_name() -> None:
    cells = [Cell("garden", model, "fern", "boot", 0.5, 3) for model in ("tiny_owlv2", "renamed")]
    assert {cell.stream("detection") for cell in cells} == {"garden/detection/fern/boot-0.5-3"}
    assert len({cell.key for cell in cells}) == 2


def test_what_is_no_key_is_not_read_as_one() -> None:
    for text in ("", "a/b/c", "a/b/c/d-e-0", "a/b/c/d-0.5-x"):
        with pytest.raises(ValueError, match="not a cell's key"):
            parse_key(text)

"""Saved configs come from anyone: what is read of them is plain and within limits."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composing import compose
from vwtransfer.config.saved import DEEPEST, LARGEST, config_of, read_config, read_mapping
from vwtransfer.errors import UserError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 2024-05-01", {"a": "2024-05-01"}),
        ("a: ${oc.env:HOME}\nb: ${package:evil}", {"a": "${oc.env:HOME}", "b": "${package:evil}"}),
        ("a: {10: x}", {"a": {10: "x"}}),
        ("10: x", {"10": "x"}),
        ('a: "\\ud800"', {"a": "?"}),
        ("a: [1, 0.5, .inf, true, null]", {"a": [1, 0.5, float("inf"), True, None]}),
        (f"a: {10**38}", {"a": 10**38}),
    ],
)
def test_what_is_read_is_plain(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert read_mapping(tmp_path / "config.yaml") == values


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no keys with values"),
        ("- a", "no keys with values"),
        ("a: &b [x]\nc: [*b, *b]", "it holds an alias"),
        (f"a: {'[' * 60}", f"nested more than {DEEPEST} deep"),
        (f"a: {'9' * 5000}", "4300 digits"),
        (f"a: 0x{'f' * 500}", "kind int"),
        ("a: !!set {b}", "kind set"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: [", "while parsing"),
        ("a: \0", "special characters are not allowed"),
        ("#" * (LARGEST + 1), "more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=line) as refusal:
        read_mapping(path)
    assert len(str(refusal.value).splitlines()) == 1
    assert str(path) in str(refusal.value)


def test_a_config_of_which_a_part_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: 1")
    with pytest.raises(UserError, match=r"config.yaml holds no config of this version: a: unknown"):
        read_config(path)


def test_a_study_of_before_newer_keys_is_read(tmp_path: Path) -> None:
    """What stands in folders and in jobs that were submitted."""
    values: Any = deepcopy(dict(compose([]).composed))
    newer = {
        "trainer": ("parametrization", "schedule", "stop"),
        "benchmark": ("calibration_prompts", "density"),
    }
    for group, keys in newer.items():
        values[group] = {k: v for k, v in values[group].items() if k not in keys}
    values["fetch"]["imagenet"] = {"copy": None}
    read = config_of(values, tmp_path)
    assert read.trainer == compose([]).trainer
    assert read.benchmark == compose([]).benchmark
    assert read.fetch is not None
    assert read.fetch.imagenet.hub.repo is None


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 10_000, '{"a":', "[]", "\ufeff{}"])
def test_the_same_of_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=r"provenance\.json cannot be read"):
        read_mapping(tmp_path / "provenance.json")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(UserError, match="it is no file"):
        read_mapping(tmp_path / "config.yaml")
    with pytest.raises(FileNotFoundError):
        read_mapping(tmp_path / "other.yaml")


def test_what_a_link_leads_to_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("password: hunter2")
    (tmp_path / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(UserError, match="it is a link"):
        read_mapping(tmp_path / "config.yaml")


VALUES = st.sampled_from(
    [None, [], {}, "x", "", -1, 0, 10**30, 1e300, float("nan"), True, [[1]], {"a": {"b": 1}}]
) | st.sampled_from(["../x", "${oc.env:HOME}", "evil.x.Y", "..", ".", "__main__.x", "a\0.b", "é"])


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    return dict(compose(["concept=[red_striped_star]", "anchor=paired"]).composed)


@given(data=st.data())
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_any_value_in_a_saved_config_ends_in_a_config_or_in_one_line(
    saved: dict[str, Any], data: st.DataObject
) -> None:
    values = deepcopy(saved)
    for _ in range(data.draw(st.integers(1, 2))):
        part = values
        while True:
            keys = sorted(part, key=str) if isinstance(part, dict) else range(len(part))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(part[key], dict | list) or not part[key] or data.draw(st.booleans()):
                break
            part = part[key]
        part[key] = data.draw(VALUES)
    try:
        assert config_of(values, Path("config.yaml")).name == values["name"]
    except UserError as refusal:
        assert len(str(refusal).splitlines()) == 1

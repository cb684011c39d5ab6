"""What is typed is taken as typed; what cannot be is answered by what to type instead."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from command_line import vwtransfer
from own_configs import changed
from vwtransfer.config import Config
from vwtransfer.config.command_line import as_typed, is_text, remedy
from vwtransfer.config.composition import compose, composed, config_folder
from vwtransfer.config.error_messages import explained
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError


def read(*typed: str) -> Sequence[Override]:
    """What Hydra's parser makes of arguments."""
    return OverridesParser.create().parse_overrides(as_typed(typed, config_folder()))


@pytest.fixture(scope="module")
def tiny() -> DictConfig:
    return composed([])


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("concept=3", "3"),
        ("anchor=[5,cat,true]", ["5", "cat", "true"]),
        ("concept=['a,3',3]", ["a,3", "3"]),
        ("name=2024_05_01", "2024_05_01"),
        ("outputs=2024", "2024"),
        ("outputs=~/my runs", "~/my runs"),
        ("dataset.folder.root=2024_05_01", "2024_05_01"),
        ("cluster.account=0123", "0123"),
        ("model.sd21.revision=1e10", "1e10"),
        ("word=it's (1) & [2]; #é.pt", "it's (1) & [2]; #é.pt"),
        ('word=日"本\\', '日"本\\'),
        ("images=[a(1).jpg,日本/3]", ["a(1).jpg", "日本/3"]),
        ("concept=[café,3]", ["café", "3"]),
        ("model.generation.prompt_template=a photo (old) of {}", "a photo (old) of {}"),
        ("word=null", None),
        ("seed=3", 3),
        ("delta=[0.1,null]", [0.1, None]),
    ],
)
def test_a_text_is_taken_as_it_is_typed(typed: str, value: Any) -> None:
    (override,) = read(typed)
    assert override.value() == value


def test_a_sweep_over_texts_is_one() -> None:
    (override,) = read("name=1,2_0,c")
    assert list(override.sweep_string_iterator()) == ['"1"', '"2_0"', "c"]


@pytest.mark.parametrize("group", ["experiment", "model/safety", "model/judge", "transfer"])
def test_null_leaves_a_group_out(group: str) -> None:
    (override,) = read(f"{group}=null")
    assert override.is_delete()
    assert override.key_or_group == group


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("delta=1&2", "delta='1&2'"),
        ("evaluation.baselines=[café]", "evaluation.baselines=['café']"),
        ("dataset.folder.concepts={mug: 'my mug',cup: tasse à thé}", "cup: 'tasse à thé'"),
        ("extra_grids=[{concept: café, delta: 1}]", "[{concept: 'café', delta: 1}]"),
    ],
)
def test_what_is_to_be_quoted_is_shown_as_a_shell_takes_it(typed: str, instead: str) -> None:
    shown = re.search("type (.*)\\.$", remedy(typed))
    assert shown
    (argument,) = shlex.split(shown[1])
    (override,) = read(argument)
    assert instead.partition("=")[2].replace(" ", "") in argument.replace('"', "'").replace(" ", "")
    assert override.value() is not None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("delta=[0.1", "Is each bracket and quote closed?"),
        ("dataset.folder.concepts={café: a}", "goes into a YAML file"),
        ("dataset.folder.concepts.café=a", "the command line takes no such key"),
        ("seed", "must be KEY=VALUE"),
    ],
)
def test_what_the_command_line_cannot_spell_is_said(typed: str, said: str) -> None:
    with pytest.raises(HydraException) as refusal:
        read(typed)
    line = explained(refusal.value, [typed])
    assert line and line.startswith(f"{typed}: ")
    assert said in line


@pytest.mark.parametrize("typed", ["=3", "+=3", "word=\udce9.pt"])
def test_what_has_no_key_or_is_not_utf_8_is_refused(typed: str) -> None:
    with pytest.raises(UserError, match=r"KEY=VALUE|is not UTF-8"):
        read(typed)


TYPED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "name=", "+word=", "delta=", "dataset=", "concept=[", "-m", "a.b="]),
    st.text(st.characters(codec="utf-8"), max_size=8) | st.text("[]{}()'\"\\$,:=#1.e ", max_size=8),
    st.sampled_from(["", "]", "'"]),
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(typed=TYPED)
@example(typed='word=a"\\')
@example(typed="images=[\n,']")
def test_any_argument_is_read_or_answered_by_one_line(typed: str) -> None:
    try:
        overrides = read(typed)
    except (HydraException, UserError) as error:
        line = explained(error, [typed])
        assert line and line == " ".join(line.split())
    else:
        assert [each.input_line for each in overrides]


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    key=st.sampled_from(["dataset", "name", "seed", "model.tiny_sd", "hydra/launcher", "+delta"]),
    value=st.text("abc[]{}3.,$:/", max_size=6),
)
def test_any_value_makes_a_config_or_one_line(key: str, value: str) -> None:
    try:
        config = compose([f"{key}={value}"])
    except Exception as error:
        line = explained(error, [f"{key}={value}"])
        assert line and line == " ".join(line.split())
    else:
        assert isinstance(config, Config)

"""What is typed is taken as typed; what cannot be is answered by what to type instead."""

import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from command_line import vwtransfer
from own_configs import changed
from vwtransfer.config import Config
from vwtransfer.config.command_line import as_typed, is_text, remedy
from vwtransfer.config.composition import compose, composed, config_folder
from vwtransfer.config.error_messages import explained
from vwtransfer.config.validation import validated
from vwtransfer.errors import UserError
from vwtransfer.main import _print_all_letters


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


@pytest.mark.parametrize("outputs", ["my [runs] (é's)", "2024", "a,b", "x & $y #1", "C:\\runs"])
def test_the_command_that_a_study_is_asked_by_finds_it(tiny: DictConfig, outputs: str) -> None:
    config = replace(validated(tiny), name="2024_05", outputs=Path(outputs))
    _, *typed = shlex.split(config.command)
    assert [each.value() for each in read(*typed)] == ["2024_05", outputs]


@pytest.mark.parametrize("group", ["experiment", "model/safety", "model/judge", "transfer"])
def test_null_leaves_a_group_out(group: str) -> None:
    (override,) = read(f"{group}=null")
    assert override.is_delete()
    assert override.key_or_group == group
    assert as_typed([f"+{group}=null"], config_folder()) == [f"~{group}"]


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
        ("name =x", "without blanks beside the key"),
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


def test_a_file_whose_name_is_not_utf_8_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png")).touch()
    (file,) = tmp_path.iterdir()
    with pytest.raises(UnicodeEncodeError) as failure:
        "\0".join(["0", file.name, "1"]).encode()  # as images are ranked
    line = explained(failure.value, [])
    assert line and line.startswith("'caf\\udce9.png': is not UTF-8. Rename the file")


def test_a_torchvision_that_was_built_for_another_torch_is_named() -> None:
    with pytest.raises(RuntimeError) as failure:  # as torchvision does where its library is missing
        torch.library.register_fake("torchvision::of_another_build")(lambda: None)
    line = explained(failure.value, [])
    assert line and line.startswith("torchvision ")
    assert f" was built for another torch than {version('torch')}, " in line


def test_a_locale_without_the_letters_is_told_from_a_name_that_is_not_utf_8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(UserError, match=r"cannot be read in this locale\. Set PYTHONUTF8=1"):
        read("concept=caf\udcc3\udca9")


def test_letters_that_the_terminal_lacks_are_printed_by_their_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", errors)
    _print_all_letters()
    print("café")
    errors.flush()
    assert errors.buffer.getvalue() == b"caf\\xe9\n"


REMEDIES = [
    (["task=detection", "direction=generation_to_detection"], r"Add it with (.*)\."),
    (["~model/judge"], "(model/judge=)NAME"),
    (["dataset=[]"], "(dataset=)NAME"),
    (["dataset=two words"], "by: (.*)"),
    (["dataset=folder", "dataset.folder.root=two words"], r"as in (anchor=.*)\."),
    (["cluster.sbatch.exclude=node7"], r"is called (.*) now"),
    (["cluster.additional_parameters.exclude=node7"], "as in (.*=)VALUE"),
    (["+seed=3"], "as (seed=)VALUE"),
    (["word=a,b.pt"], r"list, type (.*?)\. If"),
    (["word={a}"], "type (.*)\\.$"),
    (["outputs=[a]"], "type (.*)\\.$"),
    (["images=a,b"], r"list, type (.*?)\. If"),
    (["cluster.setup=a,b"], "stand, type (.*)\\.$"),
    (["cluster.additional_parameters.exclude=n[1-3]"], "type (.*)\\.$"),
    (["model/generation=[sd15,sd21]", "direction.pairs=[sd15,sd21]"], r"as in (.*)\."),
    (["~model/generation", "~model/detection", "~model/classification"], r"or (.*)\."),
]
MEANT = {
    "model/judge=": "model/judge=tiny",
    "dataset=": "dataset=tiny_small",
    "+cluster.additional_parameters.exclude": "+cluster.additional_parameters.exclude=node7",
    "+cluster.additional_parameters.exclude=": "+cluster.additional_parameters.exclude=node7",
    "seed=": "seed=3",
    "[[sd15,sd21]]": "direction.pairs=[[sd15,sd21]]",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person stands: there are photos in a folder whose name is two words."""
    (tmp_path / "two words").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "two words" / "0.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("typed", "remedy"), REMEDIES)
def test_what_a_refusal_says_to_type_is_not_refused(
    folder: Path, typed: list[str], remedy: str
) -> None:
    with pytest.raises(Exception) as refusal:
        compose(typed)
    line = explained(refusal.value, typed)
    assert line
    found = re.search(remedy, line)
    assert found, line
    instead = shlex.split(MEANT.get(found[1], found[1]))
    replaced = {each.lstrip("+~").partition("=")[0] for each in instead}
    refused = {"cluster.sbatch.exclude", *(["dataset"] if "dataset" in replaced else [])}
    kept = [each for each in typed if each.lstrip("+~").partition("=")[0] not in replaced | refused]
    if instead == ["dataset=folder", "dataset.folder.root=two words"]:
        instead.append("anchor=dog")  # its name is no single word
    assert compose([*kept, *instead])


def test_a_sweep_over_seeds_starts_as_its_refusal_says(folder: Path) -> None:
    started = vwtransfer(folder, "-m", "name=study_${seed}", "seed=0,1", "action=rnu")
    assert "action=rnu: no such action" in started.stderr  # the first job was given out


def test_a_sweep_of_no_job_is_refused(folder: Path) -> None:
    refused = vwtransfer(folder, "-m", "concept=glob(*)")
    assert refused.returncode == 2
    assert "concept=glob(*): gives no value, so that no job would start" in refused.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["-m", "hydra/sweeper=optuna"], "hydra/sweeper=optuna: is not installed. Valid: basic"),
        (["-m", "--cfg", "job"], "Only one of --run, --multirun, --cfg"),
        (["-m", "model/safety=null,compvis"], "model/safety=null,compvis: a group takes the name"),
        (["dataset=[/a/b]"], "dataset=/a/b: is a folder. Photos are chosen by: dataset=folder"),
        (["transfer@benchmark.methods.a=ridge"], "transfer@benchmark.methods.a: is not there yet"),
        (["dataset.tiny_shapes.concepts=[1]"], "dataset.tiny_shapes.concepts=[1]: does not fit"),
        (["seed=0,1"], "seed=0,1: is read as several values. For a job with each, begin with -m."),
        (["concept=glob(*)"], "concept=glob(*): is read as several values. If all letters"),
        (["dataset={a:1}"], "dataset: takes the name of a choice, or a list of them"),
        (["dataset="], "dataset=: no such choice. Valid: coco"),
    ],
)
def test_what_hydra_refuses_is_one_line(folder: Path, typed: list[str], said: str) -> None:
    shown = vwtransfer(folder, *typed)
    assert shown.stderr.startswith(f"vwtransfer: {said}")
    assert len(shown.stderr.splitlines()) == 1
    assert shown.returncode == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", 20240501, "name=20240501: must be a text, not a number"),
        ("outputs", 2024, "outputs=2024: must be a text"),
        ("concept", [3], "concept=3: must be a text"),
        ("anchor", 5, "anchor=5: must be a text"),
        ("cluster.account", 123, "cluster.account=123: must be a text"),
        ("outputs", "", "outputs=: is empty"),
        ("cache.folder", " ", "cache.folder= : is empty"),
        ("images", ["a.jpg", ""], "images=: is empty"),
        ("outputs", "~nobody-here/runs", "outputs=~nobody-here/runs: there is no such home"),
    ],
)
def test_a_number_or_nothing_in_place_of_a_text_is_refused(
    tiny: DictConfig, key: str, value: Any, said: str
) -> None:
    with pytest.raises(UserError) as refusal:
        validated(changed(tiny, **{key: value}))
    assert str(refusal.value).startswith(said)


def test_every_path_may_begin_with_the_home_folder(
    tiny: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = validated(changed(tiny, outputs="~/runs", kept="~", word="~/a.pt", images=["~/b"]))
    assert (config.outputs, config.kept) == (tmp_path / "runs", tmp_path)
    assert (config.word, config.images) == ((tmp_path / "a.pt",), (tmp_path / "b",))
    assert config.cache.folder == tmp_path / "runs/.cache"
    assert "~" not in str(config.composed)


def test_photos_may_lie_in_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    config = compose(["dataset=folder", "dataset.folder.root=~/two words", "anchor=5"])
    assert config.dataset["folder"].node["root"] == str(folder / "two words")
    assert config.dataset["folder"].anchors == ("5",)


@pytest.mark.parametrize("root", ["", 2024])
def test_a_root_that_is_no_text_is_refused(folder: Path, root: Any) -> None:
    config = composed(["dataset=folder"])
    with pytest.raises(OmegaConfBaseException) as refusal:
        validated(changed(config, dataset__folder__root=root))
    assert f"dataset.folder.root={root}: " in str(explained(refusal.value, []))


def test_each_path_of_the_config_is_known_as_a_text() -> None:
    assert all(map(is_text, ["word", "benchmark.words", "dataset.mine.boxes", "model.a.support"]))
    assert not any(map(is_text, ["seed", "delta", "cluster.hours", "evaluation.save_images"]))


LETTERS = "ab3 é日\u0301\x07\ud800[]{}()'\"\\$,:=#~.\n"
TYPED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "name=", "+word=", "delta=", "dataset=", "concept=[", "-m", "a.b="]),
    st.text(LETTERS, max_size=8),
    st.sampled_from(["", "]", "'"]),
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(typed=TYPED)
@example(typed='word=a"\\')
@example(typed="images=[\n,']")
@example(typed="word= ")
def test_any_argument_is_read_or_answered_by_one_line(typed: str) -> None:
    try:
        overrides = read(typed)
    except (HydraException, UserError) as error:
        line = explained(error, [typed])
        assert line and line == " ".join(line.split())
    else:
        assert len(overrides) == 1
        once = as_typed([typed], config_folder())
        assert as_typed(once, config_folder()) == once  # as `resume` prints it for a shell


@settings(max_examples=8, derandomize=True, deadline=None)
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

"""Each command that the documentation shows makes a config."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from vwtransfer.config.composition import compose, composed
from vwtransfer.main import ACTIONS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "launch/README.md"]
COMMAND = re.compile(
    r"^    .*?(?<![/\w])vwtransfer +((?:-|\$\w|[\w/.@~+]+=)[^#;\n]*)", re.MULTILINE
)
VARIABLE = re.compile(r"^    \$ (\w+)=\"([^\"]*)\"", re.MULTILINE)
FLAGS = ("--help", "--cfg", "job", "-m")


def commands() -> Iterator[tuple[str, ...]]:
    """The overrides of each command in a code block; what is done with a config aside."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for name, value in VARIABLE.findall(text):
            text = text.replace(f"${name}", value.replace("\n", " "))
        for command in COMMAND.findall(text):
            yield tuple(each for each in shlex.split(command) if each not in (*FLAGS, "..."))


COMMANDS = list(commands())
# what composing costs nothing more for: their keys are looked up, and their values are any text
TEXTS = (
    *("name", "word", "images", "benchmark.page", "benchmark.words", "cluster.partition"),
    *("action", "format", "wandb.entity", "status.watch"),
)


def is_composed(argument: str) -> bool:
    """Whether an argument makes a difference to composing; convert composes models by name."""
    return argument == "action=convert" or argument.partition("=")[0] not in TEXTS


ALL = {frozenset(filter(is_composed, each)) for each in COMMANDS}
SHOWN = [tuple(filter(is_composed, each)) for each in COMMANDS]
SHOWN = [each for each in dict.fromkeys(SHOWN) if not any(set(each) < other for other in ALL)]


@pytest.fixture(scope="module", autouse=True)
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the photos and the own configs that the documentation speaks of."""
    folder = tmp_path_factory.mktemp("reader")
    for photo in ("my_photos/0.jpg", "photos/red_mug/0.jpg"):
        (folder / photo).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / photo)
    for name, text in {
        "transfer/mine": "_target_: mine.Mine\nname: mine\n",
        "model/generation/sd15_finetuned": "# @package model.sd15_finetuned\n"
        "defaults: [sd15@_here_]\nname: sd15_finetuned\n",
    }.items():
        path = folder / f"my_conf/{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (folder / "mine.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield folder


def test_commands_are_found_and_their_keys_and_actions_exist() -> None:
    assert len(SHOWN) > 10
    keys = {argument.partition("=")[0] for each in COMMANDS for argument in each}
    config = composed([])
    for key in TEXTS:
        OmegaConf.update(config, key, None)  # refuses a key that is not there
    assert set(TEXTS) <= keys
    actions = {a.removeprefix("action=") for each in COMMANDS for a in each if "action=" in a}
    assert actions <= set(ACTIONS)
    assert len(actions) > 5


@pytest.mark.parametrize("overrides", SHOWN, ids=" ".join)
def test_what_the_documentation_shows_makes_a_config(overrides: tuple[str, ...]) -> None:
    given = list(overrides)
    own = None
    if "--config-dir" in given:
        given.remove("--config-dir")
        given.remove("my_conf")
        own = Path("my_conf")
    first = []
    for each in OverridesParser.create().parse_overrides(given):
        sweep = each.sweep_string_iterator() if each.is_sweep_override() else None
        first.append(f"{each.get_key_element()}={next(sweep)}" if sweep else str(each.input_line))
    assert compose(first, own)

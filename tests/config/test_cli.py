"""The command line: what can be chosen, and one line for what cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import vwtransfer
from own_configs import OVERRIDES, write_own_configs

OWN = ["--config-dir", "conf"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_own_configs(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


def test_help_lists_groups_keys_and_examples(own: Path) -> None:
    shown = vwtransfer(own, *OWN, "--help")
    assert shown.returncode == 0
    groups = dict(line.split(": ", 1) for line in shown.stdout.splitlines() if ": " in line)
    for group, choices in {
        "dataset": {"garden", "street", "tiny_shapes"},
        "model": {"paper", "tiny"},
        "model/generation": {"sd21", "tiny"},
        "direction": {"all", "none", "generation_to_detection"},
        "transfer": {"least_squares"},
        "experiment": {"demo", "tiny_section4", "tiny_section5"},
    }.items():
        assert choices <= set(groups[group].split(", "))
    for word in ("experiment=demo", "concept", "anchor", "delta", "--cfg job"):
        assert word in shown.stdout


def test_nothing_heavy_is_imported_before_the_work() -> None:
    script = "import vwtransfer.main, sys; print([m for m in sys.modules if m in sys.argv])"
    heavy = ["torch", "transformers", "diffusers", "open_clip", "pandas", "matplotlib"]
    shown = subprocess.run(
        [sys.executable, "-c", script, *heavy], check=True, capture_output=True, text=True
    )
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=gardn"], "dataset=gardn: no such choice. Did you mean 'garden'?"),
        (["dataset=[garden,stret]"], "dataset=stret: no such choice. Did you mean 'street'?"),
        (["experiment=dmo"], "experiment=dmo: no such choice. Did you mean 'demo'?"),
        (["datset=garden"], "datset: unknown key. Did you mean 'dataset'?"),
        (
            ["model.generation.stepz=3"],
            "model.generation.stepz: unknown key. Did you mean 'model.generation.training.steps'?",
        ),
        (
            ["model=paper", "model.tiny_sd.dtype=float16", "model.tiny_clip.dtype=float16"],
            "model.tiny_sd.dtype: unknown key. Did you mean 'model.generation.dtype'?",
        ),
        (["concept=ferm"], "concept=ferm: not in garden. Did you mean 'fern'?"),
        (["action=rnu"], "action=rnu: no such action. Did you mean 'run'?"),
        (["delta=[0.1"], "delta=[0.1: "),
        (["delta=0.1,0.2"], "For a job with each, begin with -m."),
        (["name=${nmae}"], "name: Interpolation key 'nmae' not found"),
        (["+trainer.file=${package:nowhere}"], "there is no package nowhere"),
        (["-m", "task=generation,detection", "delta=0.1,-1"], "delta=-1: must be at least 0"),
        (["-m", "model.generation.stepz=1,2"], "model.generation.stepz: unknown key"),
        (
            ["-m", "seed=0,1"],
            "but seed was 0, now 1. Give each its own, as in 'name=study_${seed}'.",
        ),
    ],
)
def test_bad_input_is_one_line_with_status_2_and_leaves_nothing(
    own: Path, arguments: list[str], said: str
) -> None:
    before = files(own)
    flags = [each for each in arguments if each == "-m"]
    overrides = [each for each in arguments if each not in flags]
    shown = vwtransfer(own, *OWN, *flags, *OVERRIDES, *overrides)
    assert said in shown.stderr
    assert shown.stderr.startswith("vwtransfer: ")
    assert len(shown.stderr.splitlines()) == 1
    assert shown.stdout == ""
    assert shown.returncode == 2
    assert files(own) == before


def test_a_traceback_is_shown_where_it_is_asked_for(own: Path) -> None:
    shown = vwtransfer(own, *OWN, *OVERRIDES, "concept=ferm", "debug=true")
    assert shown.returncode == 2
    assert "Traceback" in shown.stderr
    assert shown.stderr.splitlines()[-1].startswith("vwtransfer: concept=ferm")


def test_the_composed_config_can_be_looked_at(own: Path) -> None:
    shown = vwtransfer(own, *OWN, *OVERRIDES, "--cfg", "job")
    assert shown.returncode == 0
    assert "red_rose: red rose" in shown.stdout


def test_a_folder_that_cannot_be_made_is_said_before_a_sweep_starts(own: Path) -> None:
    shown = vwtransfer(
        own, *OWN, "-m", *OVERRIDES, "outputs=photos.py", "task=generation,detection"
    )
    assert shown.returncode == 2
    assert "photos.py" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_reader_that_goes_away_is_no_fault() -> None:
    command = [sys.executable, "-m", "vwtransfer", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as helped:
        assert helped.stdout is not None and helped.stderr is not None
        helped.stdout.close()
        assert helped.stderr.read() == b""

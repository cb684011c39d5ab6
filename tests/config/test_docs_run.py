"""The commands and the code of the documentation do what it says, on the miniature models.

A command is run as a page shows it, with miniatures in place of published models and with so few
steps, words and images that it takes seconds. The others are composed alone (test_docs.py): they
take hours, a network, a scheduler or published weights, and have tests of their own.
"""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

import documentation
from command_line import Finished, vwtransfer
from documentation import python_blocks
from vwtransfer.config.composition import compose, package_folder
from vwtransfer.datasets.export import write_dreambooth
from vwtransfer.models.suite import build_part

pytestmark = pytest.mark.integration

IN_MINIATURE = {
    "model=paper": "model=tiny",
    "model/generation=[sd15,sdxl]": "model/generation=[tiny_sd,tiny_sdxl]",
    "source=sd15": "source=tiny_sd",
    "target=sdxl": "target=tiny_sdxl",
    "target=owlv2_base": "target=tiny_owlv2",
    "experiment=section4": "experiment=tiny_section4",
    "anchor=mug": "anchor=star",
    "images=FOLDER": "images=photos",
}
QUIET = ("progress=false", "wandb=off", "threads=1")
STEPS = ("detection.training.steps=2", "classification.training.steps=2")
DRAWING = ("training.steps=2", "denoising_steps=2", "images_per_word=1")
QUICK = (*(f"model.{each}" for each in STEPS), *(f"model.generation.{each}" for each in DRAWING))
ONE = ("concept=red_striped_star", "anchor=zepu")
DEMO = (
    *("concept=[red_striped_star]", "extra_grids=[]", "task=[generation,classification]"),
    "direction=[generation_to_classification,classification_to_generation]",
)
FEW = tuple(f"dataset.tiny_shapes.{each}" for each in ("training_images=2", "held_out_images=1"))
SMALL = (*QUICK, *FEW, "evaluation.baselines=[anchor]")
MATCHING = ("transfer.calibration_prompts=80", "transfer.steps=2")


def run(place: Path, page: str, shown: str, *more: str) -> Finished:
    """Runs a command as a page shows it, in miniature, with further arguments."""
    command = {str(each): each for each in documentation.commands(page)}[shown]
    arguments = [IN_MINIATURE.get(each, each) for each in command.arguments]
    finished = vwtransfer(place, *arguments, *QUIET, *more)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: photos, and the files that the pages write out."""
    folder = tmp_path_factory.mktemp("reader")
    documentation.write_files(folder)
    node = compose(["dataset=tiny_shapes"]).dataset["tiny_shapes"].node
    one = {"concepts": {"red_striped_star": "red striped star"}, "anchors": ["star"]}
    sizes = {"training_images": 3, "held_out_images": 1}
    write_dreambooth(build_part({**node, **one, **sizes}, "dataset.tiny_shapes"), folder)
    shutil.move(folder / "dataset/red_striped_star", folder / "photos")
    shutil.copytree(folder / "photos", folder / "my_photos")
    return folder


@pytest.fixture(scope="module")
def demo(place: Path) -> Path:
    """The folder of a small finished demo."""
    run(place, "launch/README.md", "experiment=demo", *SMALL, *DEMO, "report=false")
    return place / "outputs/demo"


@pytest.fixture(scope="module")
def exported(place: Path, demo: Path) -> Path:
    """The word that use_words.md exports for diffusers."""
    word = "outputs/demo/words/tiny_shapes/tiny_sd/red_striped_star/zepu-inf-0.safetensors"
    run(place, "docs/use_words.md", f"action=export word={word}", *SMALL)
    run(place, "docs/use_words.md", f"action=export word={word} format=a1111", *SMALL)
    folder = place / "outputs/study/exported"
    (path,) = folder.joinpath("diffusers").rglob("learned_embeds.safetensors")
    shutil.copy(path, place)
    (other,) = folder.joinpath("a1111").rglob("*.safetensors")
    (place / "embeddings").mkdir()
    shutil.copy(other, place / "embeddings")
    return path


def test_what_the_readme_shows_of_running_a_study(place: Path) -> None:
    one = (
        "dataset=tiny_shapes task=classification concept=red_striped_star anchor=zepu delta=0.5 "
        "direction=classification_to_detection"
    )
    run(place, "README.md", one, *SMALL, "report=false")
    assert (place / "outputs/study/results.parquet").is_file()


def test_the_report_of_the_demo_is_written(place: Path, demo: Path) -> None:
    run(place, "docs/report.md", "action=report name=demo")
    assert (demo / "report.html").is_file()


def test_a_word_is_used_here(place: Path, exported: Path) -> None:
    command = "action=apply model=paper word=learned_embeds.safetensors task="
    for task in ("detection images=photos/", "generation", "classification images=photos/"):
        run(place, "docs/use_words.md", f"{command}{task}", *QUICK)
    assert len([*place.glob("outputs/study/applied/*")]) >= 2
    matched = (
        "action=apply word=learned_embeds.safetensors task=detection transfer=readout_matching "
        "images=photos/"
    )
    run(place, "docs/transfer.md", matched, *MATCHING)


def test_a_folder_of_embeddings_is_converted(place: Path, exported: Path) -> None:
    run(place, "README.md", "action=convert source=sd15 target=sdxl word=embeddings/", *MATCHING)
    (converted,) = (place / "embeddings/tiny_sdxl").glob("*.safetensors")
    assert converted.stat().st_size
    assert (place / "embeddings/tiny_sdxl/converted.html").is_file()


def test_photos_become_a_word_that_diffusers_loads(place: Path) -> None:
    study = "experiment=photos dataset.folder.root=my_photos anchor=mug"
    prompts = "model.fidelity_prompts=['a photo of {} on snow']"
    small = ("model=tiny", *QUICK, prompts, "report=false")
    run(place, "docs/photos.md", study, *small)
    assert [*place.glob("outputs/photos/sheets/folder/*.png")]
    (word,) = place.glob("outputs/photos/words/folder/tiny_sd/**/*.safetensors")
    shown = "outputs/photos/words/folder/sd21/my_photos/mug-inf-0.safetensors"
    run(place, "docs/photos.md", f"{study} action=export word={shown}", *small, f"word={word}")
    (path,) = (place / "outputs/photos/exported").rglob("learned_embeds.safetensors")
    with safe_open(path, "pt") as file:
        (token,) = (name for name in file.keys() if name.startswith("<"))  # noqa: SIM118

    weights = Path(package_folder("vwtransfer.tinyworld"), "weights/generation")
    pipe = StableDiffusionPipeline.from_pretrained(weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    (code,) = python_blocks("docs/photos.md")
    code = code.replace("outputs/photos/exported/.../learned_embeds.safetensors", str(path))
    code = code.replace('beach")', 'beach", num_inference_steps=1)').replace("<my_photos>", token)
    exec(code, {"pipe": pipe})
    applied = f"{study} action=apply word=... target=owlv2_base images=FOLDER"
    run(place, "docs/photos.md", applied, *small, f"word={word}")
    assert [*place.glob("outputs/photos/applied/tiny_owlv2/*/*")]


def test_a_study_is_checked(place: Path) -> None:
    sets = ("dataset=[tiny_shapes]", *ONE)
    found = run(place, "docs/models.md", "action=check experiment=section4", *SMALL, *sets).stdout
    for line in ("model.tiny_sd ", "support tiny_sd to tiny_owlv2 ", "dataset.tiny_shapes "):
        assert line in found


def test_a_method_of_ones_own_maps_words(place: Path) -> None:
    pair = (*ONE, "task=classification", "direction=classification_to_detection")
    mine = "--config-dir my_conf transfer=mine"
    run(place, "docs/transfer.md", mine, *SMALL, *pair, "name=mine", "report=false")
    assert (place / "outputs/mine/results.parquet").is_file()


def test_a_plan_says_what_the_page_shows(place: Path) -> None:
    study = (
        "experiment=tiny_section5 dataset=tiny_shapes task=[classification,detection] "
        "concept=[red_striped_star,blue_dotted_heart,red_striped_moon] anchor=[zepu,muli,bemi] "
        "cluster=test wandb=off name=first"
    )
    planned = run(place, "docs/cluster.md", f"{study} action=plan").stdout
    page = documentation.text_of(documentation.ROOT / "docs/cluster.md")
    shown = {" ".join(line.split()) for line in page.splitlines()}
    lines = [" ".join(line.split()) for line in planned.splitlines()]
    assert len(lines) > 8 and set(lines) <= shown


def test_python_of_datasets_writes_and_reads_a_folder_of_coco(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = python_blocks("docs/datasets.md")
    few = '["dataset.tiny_shapes.training_images=2", "dataset.tiny_shapes.held_out_images=2"]'
    code = code.replace("compose()", f"compose({few})")
    exec(code.replace("images=8", "images=2").replace("images=20", "images=2"), {})
    assert "red_striped_star" in capsys.readouterr().out
